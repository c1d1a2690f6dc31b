"""`python -m analysis`: the command line."""

import sys

from analysis.cli.main import main
from analysis.core import imports

code = main()
imports.keep()  # the system frees all of it at once, and a last look at each object takes a second
sys.exit(code)
