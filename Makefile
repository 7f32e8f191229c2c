# make demo   the whole kit on the built-in data     make test   every test
# make lab    Jupyter Lab, at the first notebook     make quick  every test that is not slow
# make check  lint, format, types, outputs stripped  make rendered  the committed figures and pages
PYTHON ?= python3
# The versions that the tests passed with; `make VERSIONS= test` takes the newest there are.
VERSIONS ?= --constraint constraints.txt
BIN := .venv/bin
READY := .venv/.ready

# One process a core and one thread a process: most tests are too small for more threads.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses logical --dist loadfile

.PHONY: demo rendered test quick lab check
demo: $(READY)
	$(BIN)/python notebooks/walk.py

rendered: $(READY)
	$(BIN)/python notebooks/walk.py --publish

test: $(READY)
	$(PYTEST)

quick: $(READY)
	$(PYTEST) -m "not slow"

lab: $(READY)
	$(BIN)/jupyter lab --ServerApp.root_dir="$(CURDIR)" notebooks/1_data.ipynb

check: $(READY)
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && \
	  $(BIN)/nbstripout --verify notebooks/*.ipynb

# Installs once, and again only when the list of dependencies changes.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(v < (3, 11) and \
	  f"mmagga needs Python 3.11 or newer; $(PYTHON) is {v[0]}.{v[1]}. Try: make PYTHON=python3.12 $(MAKECMDGOALS)")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(VERSIONS) --editable '.[dev]' || \
	  { echo "The versions of constraints.txt cannot all be had here (see above)." \
	    "The newest that can: make VERSIONS= $(MAKECMDGOALS)"; exit 1; }
	@touch $@
