# Two commands are enough: `make run` searches the bundled digits, `make test` runs the tests.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin

.PHONY: run test test-slow lint docs audit sbom lock install clean

run: $(VENV)/.installed
	$(BIN)/latsearch run digits

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m "not slow" -n 2 --dist loadfile

test-slow: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m slow

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# a site in site/: nothing is fetched to build it, nor to read it
docs: $(VENV)/.installed-dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "site/index.html (searchable where it is served: $(BIN)/mkdocs serve)"

# known holes in what the image consists of, asked of PyPI's and OSV's databases
audit: $(VENV)/.tools
	@$(VENV)/tools/bin/pip-audit --strict --require-hashes --disable-pip -r k8s/requirements.lock \
	  || { echo "audit: a hole, or (ERROR) a database that cannot be reached: see above" >&2; exit 1; }

# what the image consists of, as CycloneDX, with the hashes
sbom: $(VENV)/.tools
	$(VENV)/tools/bin/cyclonedx-py requirements k8s/requirements.lock --pyproject pyproject.toml \
	  --output-reproducible --of JSON -o sbom.cdx.json

lock: $(VENV)/.installed
	$(BIN)/python k8s/lock.py

# in an environment of their own: what they need does not go with everything
$(VENV)/.tools: | $(BIN)/python
	$(BIN)/python -m venv $(VENV)/tools
	$(VENV)/tools/bin/pip install --quiet --disable-pip-version-check 'pip-audit>=2.7' 'cyclonedx-bom>=5'
	@touch $@

install: $(VENV)/.installed

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	  || { echo "latsearch needs Python 3.11 or newer; name one with: make PYTHON=/path/to/python" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV)
