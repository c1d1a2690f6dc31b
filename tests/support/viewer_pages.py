"""Open every page where only requirements-viewer.txt is installed, and print the drawn texts and
failures as JSON.

python -m tests.support.viewer_pages PACK
"""

import json
import sys
from pathlib import Path

from streamlit.testing.v1 import AppTest

import analysis
from analysis.core import host
from analysis.core.errors import LayerscopeError
from analysis.results import packs

APP = Path(__file__).resolve().parents[2] / "app.py"
PAGES = ("model", "explore", "heal", "compare", "export", "learn")


def main(pack: str) -> None:
    """Open the pages of the model of a pack."""
    opened = packs.open_file(Path(pack))
    drawn = {}
    for page in PAGES:
        at = AppTest.from_file(str(APP), default_timeout=120)
        at.switch_page(f"pages/{page}.py")
        at.run()
        drawn[page] = {
            "failed": [one.value for one in [*at.exception, *at.error]],
            "says_viewer": any(host.VIEWER in one.value for one in at.caption),
            "text": " ".join(one.value for one in at.markdown)[:20_000],
        }
    loaded = sorted(
        {name.partition(".")[0] for name in sys.modules}
        & {"torch", "transformers", "peft", "bitsandbytes"}
    )
    try:
        python = str(analysis.stored("sweep"))
    except LayerscopeError as error:
        python = str(error)
    said = {"python": python, "pages": drawn, "loaded": loaded, "title": opened.title}
    sys.stdout.write(json.dumps(said))


if __name__ == "__main__":
    main(sys.argv[1])
