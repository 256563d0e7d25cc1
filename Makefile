# Two commands do everything: `make demo` and `make test`.
VENV ?= .venv
BIN := $(VENV)/bin
SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))
PYTHON ?= $(shell for p in python3.12 python3.11 python3; do \
	$$p -c "$(SUPPORTED)" 2>/dev/null && echo $$p && break; done)

.PHONY: demo test doctest lint coverage bench docs clean

demo: $(VENV)/.installed
	rm -rf out
	$(BIN)/btk-generative draw configs/quickstart.yaml --output out
	@echo "Look at out/blends.png"

test: $(VENV)/.installed-test
	$(BIN)/python -m pytest -n 2 --dist loadfile
	$(MAKE) doctest

# Only modules with examples: others would be imported for nothing.
doctest: $(VENV)/.installed-test
	$(BIN)/python -m pytest -q --doctest-modules \
		$$(grep -rl --include='*.py' '>>>' btk_generative)

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# slower than the tests alone
coverage: $(VENV)/.installed-test
	$(BIN)/python -m pytest -n 2 --dist loadfile --cov --cov-report=json:out/coverage.json
	$(BIN)/python tests/coverage_by_room.py out/coverage.json

bench: $(VENV)/.installed-test
	$(BIN)/python benchmarks/run.py

docs: $(VENV)/.installed
	$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[docs]'
	$(BIN)/python -m sphinx -q docs docs/_build/html

clean:
	rm -rf $(VENV) out build *.egg-info

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or 3.12 is needed: install it, or name it with 'make PYTHON=...'"; exit 1; }
	$(PYTHON) -m venv $(VENV) || { echo "On Debian and Ubuntu, first: apt install python3-venv"; exit 1; }

$(VENV)/.installed: setup.cfg constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e .
	touch $@

$(VENV)/.installed-test: setup.cfg constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[test]'
	touch $@ $(VENV)/.installed
