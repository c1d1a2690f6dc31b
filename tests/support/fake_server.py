"""A real dashboard on the loopback whose jobs the fake worker runs: `python tests/support/fake_server.py PORT`."""

import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY))

from streamlit.web import cli  # noqa: E402

from analysis.jobs.queue import processes  # noqa: E402
from tests.support.worker import COMMAND  # noqa: E402

if __name__ == "__main__":
    processes.ensure_worker.__defaults__ = (COMMAND,)
    app = str(REPOSITORY / "app.py")
    sys.argv = ["streamlit", "run", app, "--server.port", sys.argv[1], "--server.headless", "true"]
    cli.main()
