PYTHON ?= python3
BIN := .venv/bin

.PHONY: check test slow lint clean

check: .venv/ready  ## NumPy against PyTorch, Keras and the complex step, on real digits
	$(BIN)/gradparity check --framework torch,keras,numeric

test: lint  ## lint, types and the default tests
	$(BIN)/python -m pytest

slow: .venv/ready  ## the tests that take longer
	$(BIN)/python -m pytest -m slow

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

.venv/ready: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --upgrade pip
	$(BIN)/python -m pip install -e '.[dev]'
	touch $@

clean:
	rm -rf .venv build *.egg-info
