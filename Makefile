# make run       start the dashboard on the starter model
# make check     lint, types and the tests without a model or a browser, about a minute on two quiet cores
# make test      the checks and tests that a change must pass, in about 10 minutes on two cores
# make test-all  every test, kill, fault and architecture, in an hour or two
# make check-versions  the tests of `make check` with the lowest and with the newest allowed versions, before a release
# Each target installs its packages into .venv once. Later calls start at once.

PYTHON ?= python3
PORT   ?= 8501
BIN    := .venv/bin
# LOCK=no installs from the version ranges of the requirements, without the lock files.
LOCK   ?= yes
locked  = $(if $(filter no,$(LOCK)),,--lock $(1))
# Number of test processes: one more than cores, because browser tests wait half of the time.
TESTERS ?= 3
PYTEST = $(BIN)/python -m pytest --numprocesses $(TESTERS) --dist loadfile --no-loadscope-reorder

export PYTHONUNBUFFERED = 1
# Keep compiled bytecode even where the image forbids it: the tests start hundreds of processes.
export PYTHONDONTWRITEBYTECODE =

.PHONY: help run check check-versions check-lowest-direct check-highest test test-all lint docs format install install-dev lock sbom audit chromium gallery bench-evaluation bench-healing bench-heals bench-ui bench-large screenshots chaos zoo clean

help:
	@sed -n '1,5p' Makefile

# One stamp per requirements set: pip runs again only when a file changed.
.venv/python:
	@$(PYTHON) -c 'import sys; sys.exit("Layerscope needs Python 3.11 or newer. Set PYTHON=/path/to/python3.11." if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	@touch $@

.venv/runtime: .venv/python requirements.txt requirements-starter.txt requirements.lock
	$(BIN)/python -m supply.install $(call locked,requirements.lock) requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements-starter.txt
	@touch $@

.venv/dev: .venv/runtime requirements-dev.txt requirements-mcp.txt requirements-ray.txt requirements-slurm.txt requirements-dev.lock
	$(BIN)/python -m supply.install $(call locked,requirements-dev.lock) requirements-dev.txt
	@touch $@

install: .venv/runtime
install-dev: .venv/dev

# Compile packages on all cores, beside other steps. Python compiles what is missing when it imports it. compileall reports an
# error, because packages have files for newer Pythons.
.venv/compiled: .venv/runtime
	@$(BIN)/python -m compileall -qq -j 0 -x '/tests?/' .venv/lib || true
	@touch $@

# Write lock files with the newest versions within the ranges, for every platform and every Python from 3.11, and install them.
# requirements-dev.lock has all packages, requirements.lock those of `make run`. torch stays outside with what only it brings: an
# index may serve another build of one version (for the CPU alone, say) with other hashes. Its range decides.
LOCKED = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --custom-compile-command 'make lock'

lock: install-dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'uv>=0.9,<1'
	echo torch > .venv/outside.txt
	$(LOCKED) --upgrade --excludes .venv/outside.txt --output-file requirements-dev.lock requirements.txt requirements-dev.txt
	$(LOCKED) --upgrade --excludes .venv/outside.txt --constraint requirements-dev.lock --output-file requirements.lock requirements.txt
	$(MAKE) install-dev

# Tools that look at .venv from outside of it, so that they are not among what they list.
.tools/installed: .venv/python
	$(PYTHON) -m venv .tools
	.tools/bin/python -m pip install --quiet --disable-pip-version-check 'pip-audit>=2.9,<3' 'cyclonedx-bom>=7,<8'
	@touch $@

# The installed packages as CycloneDX, the same file for the same packages.
sbom: install .tools/installed
	.tools/bin/cyclonedx-py environment --output-reproducible --output-file sbom.json $(BIN)/python
	@echo "Wrote sbom.json"

# Known advisories of the installed packages. --strict: a package that the database does not answer for is an error.
audit: install .tools/installed
	$(BIN)/python -m pip freeze --disable-pip-version-check | sed -n 's/^\([A-Za-z0-9._-]*==[0-9a-z.]*\).*/\1/p' > .tools/packages.txt
	.tools/bin/pip-audit --strict --disable-pip --no-deps --requirement .tools/packages.txt

chromium:
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || { \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    echo "Installing Chromium from Debian for the browser tests"; \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium >/dev/null; \
	  else \
	    echo "The browser tests need Chromium. Run 'sudo apt-get install chromium', or install it another way, and try again."; exit 1; \
	  fi; }

run: install
	$(BIN)/python -m analysis dashboard --port $(PORT)

lint: install-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --num-workers 2 analysis pages
	$(BIN)/lint-imports
	$(BIN)/codespell

# The documentation site, in site/. A broken link or a page outside of the navigation is an error.
docs: install-dev
	$(BIN)/python -m docs.generate
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet

format: install-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Tests that compute with no model, draw no page and start no process.
QUICK = tests/core tests/data tests/results tests/charts tests/cli tests/golden tests/test_*.py
FAST  = -m "not long and not slow and not starter and not tiny and not browser" $(QUICK)

check: lint
	$(PYTEST) $(FAST)

# The tests of `make check` with the lowest and with the newest versions that the ranges allow, without the lock files, each in a
# new environment in .versions/. Variables of uv choose the index and the build of torch, such as UV_TORCH_BACKEND=cpu.
check-versions: check-lowest-direct check-highest

check-lowest-direct check-highest: check-%: .venv/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'uv>=0.9,<1'
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python .versions/$*
	$(BIN)/uv pip install --quiet --python .versions/$* --resolution $* -r requirements.txt -r requirements-dev.txt
	$(BIN)/uv pip install --quiet --python .versions/$* --no-deps -r requirements-starter.txt
	$(subst $(BIN),.versions/$*/bin,$(PYTEST)) $(FAST)

# Chromium is installed, and packages are compiled, in parallel with lint.
test:
	@$(MAKE) --no-print-directory --jobs=3 lint chromium .venv/compiled
	$(PYTEST)

# What a release must pass.
test-all: lint chromium
	$(PYTEST) -m ""
	@$(MAKE) --no-print-directory zoo

# Kill each kind of job once, cut the power and fill the disk.
chaos: install-dev
	$(PYTEST) -m "" tests/jobs/test_kills.py tests/core/test_power_cut.py tests/jobs/test_full_disk.py

# Check every causal architecture that transformers builds small, each in its own process. Writes docs/families.md.
zoo: install-dev
	$(BIN)/python -m tests.zoo

# Measure the committed results of the models of the gallery whose weights are in the Hub cache.
gallery: install
	$(BIN)/python benchmarks/gallery.py

# Measurements of docs/evidence/benchmarks.md. Options: `.venv/bin/python benchmarks/evaluation_speed.py --help`.
bench-evaluation: install-dev
	$(BIN)/python benchmarks/evaluation_speed.py

bench-healing: install
	$(BIN)/python benchmarks/healing_speed.py

bench-heals: install
	$(BIN)/python benchmarks/heals.py

bench-ui: install-dev chromium
	$(BIN)/python benchmarks/ui_speed.py

bench-large: install-dev
	$(BIN)/python benchmarks/large_models.py

screenshots: install-dev chromium
	$(BIN)/python -m docs.screenshots

clean:
	rm -rf .venv .versions .pytest_cache .mypy_cache .ruff_cache tests/artifacts
