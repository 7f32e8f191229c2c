# make demo   the whole kit on the built-in data     make test   every test
# make lab    Jupyter Lab in notebooks/              make quick  every test that is not slow
# make check  lint, format, types, outputs stripped
PYTHON ?= python3
# The versions that the tests passed with; `make VERSIONS= test` takes the newest there are.
VERSIONS ?= --constraint constraints.txt
BIN := .venv/bin
READY := .venv/.ready

.PHONY: demo test quick lab check
demo: $(READY)
	$(BIN)/python notebooks/walk.py

test: $(READY)
	$(BIN)/python -m pytest

quick: $(READY)
	$(BIN)/python -m pytest -m "not slow"

lab: $(READY)
	$(BIN)/jupyter lab --notebook-dir=notebooks

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
