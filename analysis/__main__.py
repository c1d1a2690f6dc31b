"""`python -m analysis`: the command line."""

import gc
import sys

from analysis.cli.main import main

code = main()
gc.freeze()  # the system frees all objects at once, and a last look at each of them takes a second
sys.exit(code)
