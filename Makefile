PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.set-up

.PHONY: setup demo test lint types

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet -c constraints.txt -e '.[dev]'
	touch $(STAMP)

demo: $(STAMP)
	$(BIN)/python demo/run.py

test: lint types
	$(BIN)/pytest

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# mypy does not follow setuptools' editable install of convert/ into the package: check the package as it is installed.
types: $(STAMP)
	rm -rf build/types
	mkdir -p build/types
	cp -r spliceai_jax build/types/
	cp -r convert build/types/spliceai_jax/convert
	$(BIN)/mypy --config-file pyproject.toml build/types/spliceai_jax
