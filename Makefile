# make run    the dashboard on the starter model        make test   every check and every test
# make check  lint, types, and the tests that need neither a model nor a browser: a minute or so, for while you work
# All set up all they need in .venv, once; a second call starts at once.

PYTHON ?= python3
PORT   ?= 8501
BIN    := .venv/bin
# LOCK=no installs within the ranges of the requirements alone.
LOCK   ?= yes
locked  = $(if $(filter no,$(LOCK)),,--lock $(1))
# Tests run file by file in so many processes, one more than cores: those with a browser wait for it half of the time.
TESTERS ?= 3
# How long `make fuzz` looks for bad input that is not answered in a sentence.
MINUTES ?= 5
PYTEST = $(BIN)/python -m pytest --numprocesses $(TESTERS) --dist loadfile --no-loadscope-reorder

export PYTHONUNBUFFERED = 1
# What one process has compiled, the next need not: some images forbid to keep it, and the tests start hundreds of processes.
export PYTHONDONTWRITEBYTECODE =

.PHONY: help run check test lint docs format install install-dev lock sbom audit chromium fuzz gallery bench bench-evaluation bench-scaling bench-gpu bench-distances bench-by-layer bench-cluster bench-divided bench-store bench-healing bench-eta bench-search bench-ui load screenshots map chaos zoo clean

help:
	@sed -n '1,3p' Makefile

# One stamp per requirements set: pip runs again only when a file changed.
.venv/python:
	@$(PYTHON) -c 'import sys; sys.exit("Layerscope needs Python 3.11 or newer; set PYTHON=/path/to/python3.11." if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	@touch $@

.venv/runtime: .venv/python requirements.txt requirements-starter.txt requirements.lock
	$(BIN)/python -m supply.install $(call locked,requirements.lock) requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements-starter.txt
	@touch $@

.venv/dev: .venv/runtime requirements-dev.txt requirements-dev.lock
	$(BIN)/python -m supply.install $(call locked,requirements-dev.lock) requirements-dev.txt
	@touch $@

install: .venv/runtime
install-dev: .venv/dev

# The newest versions within the ranges, installed as soon as they are written.
lock: install-dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'uv>=0.9,<1'
	$(BIN)/python -m supply.lock
	$(MAKE) install-dev

sbom: install
	$(BIN)/python -m supply.sbom

audit: install
	$(BIN)/python -m supply.audit

chromium:
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || { \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    echo "Installing Debian's chromium for the browser tests"; \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium >/dev/null; \
	  else \
	    echo "The browser tests need Chromium: run 'sudo apt-get install chromium' (or install it your way) and try again."; exit 1; \
	  fi; }

run: install
	$(BIN)/python -m streamlit run app.py --server.port $(PORT) --server.address 127.0.0.1

lint: install-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --num-workers 2 analysis
	$(BIN)/lint-imports
	$(BIN)/python -m docs.prose

# The documentation site, in site/. A broken link or a page outside of the navigation is an error.
docs: install-dev
	$(BIN)/python -m docs.generate
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet

map: install-dev
	$(BIN)/python -m docs.house

format: install-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

check: lint
	$(PYTEST) -m "not starter and not tiny and not browser"

# Chromium is installed while the libraries are, and while the code is checked.
test:
	@$(MAKE) --no-print-directory --jobs=2 lint chromium
	$(PYTEST)

# Kills at random moments and faults of the machine, over every kind of job: about ten minutes.
chaos: install-dev
	$(BIN)/python -m tests.chaos
	LAYERSCOPE_LONG_TESTS=1 $(BIN)/python -m pytest -m long

# Every causal architecture that transformers builds small, each in a process of its own: writes docs/families.md.
zoo: install-dev
	$(BIN)/python -m tests.zoo

fuzz: install-dev
	$(BIN)/python -m tests.corpus.fuzz --minutes $(MINUTES) $(if $(SEED),--seed $(SEED))

# The committed results of the starter model and of others, whose weights are in the folder WEIGHTS or in the hub's cache.
gallery: install
	$(BIN)/python -m analysis.cli.gallery $(if $(WEIGHTS),--weights $(WEIGHTS))

bench: install
	$(BIN)/python benchmarks/first_light.py

bench-evaluation: install-dev
	$(BIN)/python benchmarks/evaluation_speed.py

bench-scaling: install
	$(BIN)/python benchmarks/scaling.py

bench-gpu: install
	$(BIN)/python benchmarks/card.py

bench-precision: install
	$(BIN)/python benchmarks/half_precision.py

bench-distances: install
	$(BIN)/python benchmarks/distance_speed.py

bench-by-layer: install
	$(BIN)/python benchmarks/by_layer.py

bench-store: install-dev
	$(BIN)/python benchmarks/store_size.py
	$(BIN)/python benchmarks/store_size.py --models 1 --results 100000

bench-cluster: install
	$(BIN)/python benchmarks/cluster.py

bench-divided: install
	$(BIN)/python benchmarks/divided.py

bench-healing: install
	$(BIN)/python benchmarks/healing_speed.py

.PHONY: bench-compensation
bench-compensation: install
	$(BIN)/python benchmarks/compensation.py

bench-eta: install
	$(BIN)/python benchmarks/eta.py

bench-search: install
	$(BIN)/python benchmarks/search_speed.py

bench-ui: install-dev chromium
	$(BIN)/python benchmarks/ui_speed.py

load: install-dev chromium
	$(BIN)/python benchmarks/load.py

screenshots: install-dev chromium
	$(BIN)/python benchmarks/screenshots.py

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache tests/artifacts
