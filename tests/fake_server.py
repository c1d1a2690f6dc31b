"""A real dashboard on the loopback whose jobs the fake worker runs: `python tests/fake_server.py PORT`."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

from job_helpers import COMMAND  # noqa: E402
from streamlit.web import cli  # noqa: E402

from analysis.jobs import local  # noqa: E402

if __name__ == "__main__":
    local.ensure_worker.__defaults__ = (COMMAND,)
    app = str(HERE.parent / "app.py")
    sys.argv = ["streamlit", "run", app, "--server.port", sys.argv[1], "--server.headless", "true"]
    cli.main()
