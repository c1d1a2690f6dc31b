"""The packages that are installed beside this one: names, versions, and who brings whom."""

import re
from dataclasses import dataclass
from importlib import metadata
from urllib.parse import quote

from packaging.requirements import InvalidRequirement, Requirement


@dataclass(frozen=True)
class Installed:
    """One installed package."""

    name: str
    """As the index spells it in addresses: lower case, words joined by hyphens."""
    version: str
    licence: str
    """What the package says of its licence, as short as it says it; "" for nothing."""
    requires: tuple[str, ...]
    """Names of what it asks for on this platform, extras aside; sorted."""

    @property
    def release(self) -> str:
        """The version that was published, without the name of a local build (`+cpu`)."""
        return self.version.partition("+")[0]

    @property
    def purl(self) -> str:
        """The package as a package URL."""
        return f"pkg:pypi/{self.name}@{quote(self.version, safe='')}"


def normal(name: str) -> str:
    """A package's name in the one spelling that compares."""
    return re.sub(r"[-_.]+", "-", name).lower()


def installed() -> list[Installed]:
    """Every package of this Python, sorted by name."""
    found = {normal(one.name): one for one in metadata.distributions() if one.name}
    return [
        Installed(name, one.version, _licence(one), tuple(sorted(_needed(one) & found.keys())))
        for name, one in sorted(found.items())
    ]


def _needed(one: metadata.Distribution) -> set[str]:
    names = set()
    for line in one.requires or ():
        try:
            asked = Requirement(line)
        except InvalidRequirement:
            continue
        if asked.marker is None or asked.marker.evaluate({"extra": ""}):
            names.add(normal(asked.name))
    return names


def _licence(one: metadata.Distribution) -> str:
    """The expression if there is one, the field if it is a name and no whole text, else the classifiers."""
    expression, field = one.metadata.get("License-Expression", ""), one.metadata.get("License", "").strip()
    if expression or (field and "\n" not in field and len(field) < 100):
        return expression or field
    listed = [line.rpartition(" :: ")[2] for line in one.metadata.get_all("Classifier") or () if line.startswith("License ::")]
    return ", ".join(listed)
