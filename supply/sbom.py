"""`make sbom`: the software bill of materials of what is installed here, as CycloneDX 1.6 JSON.

    python -m supply.sbom                  to sbom.json
    python -m supply.sbom --out -          to the terminal

The same packages give the same file, byte for byte: it carries no time, and its number is made from its content.
"""

import argparse
import json
import sys
import uuid
from pathlib import Path

from analysis import __version__
from supply.installed import Installed, installed

ROOT = Path(__file__).resolve().parent.parent
SELF = f"pkg:generic/layerscope@{__version__}"


def component(package: Installed) -> dict:
    """One package as CycloneDX names it."""
    told = {"type": "library", "bom-ref": package.purl, "name": package.name, "version": package.version, "purl": package.purl}
    return {**told, "licenses": [{"license": {"name": package.licence}}]} if package.licence else told


def bill(packages: list[Installed]) -> dict:
    """The whole bill: what Layerscope is made of, and which package brings which."""
    purls = {package.name: package.purl for package in packages}
    needed = [{"ref": one.purl, "dependsOn": [purls[name] for name in one.requires if name in purls]} for one in packages]
    brought = {name for one in packages for name in one.requires}
    own = [one.purl for one in packages if one.name not in brought]
    content = {
        "version": 1,
        "metadata": {"component": {"type": "application", "bom-ref": SELF, "name": "layerscope", "version": __version__}},
        "components": [component(package) for package in packages],
        "dependencies": [{"ref": SELF, "dependsOn": own}, *needed],
    }
    number = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(content, sort_keys=True))
    return {"bomFormat": "CycloneDX", "specVersion": "1.6", "serialNumber": f"urn:uuid:{number}", **content}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Write the bill of materials of the installed packages.")
    parser.add_argument("--out", default=str(ROOT / "sbom.json"), help="output file, - for the terminal (default: sbom.json)")
    asked = parser.parse_args(arguments)
    packages = installed()
    text = json.dumps(bill(packages), indent=1) + "\n"
    if asked.out == "-":
        print(text, end="")
        return 0
    Path(asked.out).write_text(text)
    print(f"{len(packages)} packages in {asked.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
