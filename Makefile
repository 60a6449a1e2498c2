PYTHON ?= python3
BIN := .venv/bin
SET_UP := .venv/.set-up
STOCK := .venv-stock/.complete
TPU := .libtpu/.complete
GPU := .venv-gpu/.complete
NEWEST := .venv-newest/.complete
DOCS := .venv/.docs
MINIMAP2 := .minimap2/minimap2
# Installs into the environment of a folder; uv, where it is there, in a third of pip's time.
install = $(if $(shell command -v uv),uv pip install --quiet --python $(1)/bin/python,$(1)/bin/pip install --quiet) -c constraints.txt

.PHONY: setup demo test tests test-fast test-newest test-all lint types docs docs-figures package bench-steps bench-run bench-predict bench-data bench-labels bench-forgetting bench-align bench-human bench-quality bench-gpu tpu-check

setup: $(SET_UP)

$(SET_UP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(call install,.venv) -e '.[dev]'
	touch $(SET_UP)

demo: $(SET_UP)
	$(BIN)/python demo/run.py

test: $(SET_UP)
	$(MAKE) --no-print-directory -j 3 lint types tests

# A file stays on one worker: its fixtures last.
tests: $(SET_UP)
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

test-fast: $(SET_UP)
	$(BIN)/pytest -n 2 --dist worksteal -m 'not slow and not full' $(ARGS)

# The fast tests on the newest Python found, with JAX's newest release; our own deprecation warnings are errors.
$(NEWEST): pyproject.toml constraints.txt
	test -x .venv-newest/bin/python || $$(for n in 15 14 13 12 11; do command -v python3.$$n && break; done) -m venv .venv-newest
	$(call install,.venv-newest) -e '.[dev]'
	touch $(NEWEST)

test-newest: $(NEWEST)
	.venv-newest/bin/pytest -n 2 --dist worksteal -m 'not slow and not full' \
		-o filterwarnings=error::DeprecationWarning:spliceai_jax $(ARGS)

# Hours: OpenSpliceAI beside ours, every attack and kill, ten times as many random examples.
test-all: lint types
	$(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder -m '' --hypothesis-profile many $(ARGS)

lint: $(SET_UP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# mypy and import-linter do not follow the editable install of convert/ into the package: check it as it is installed.
types: $(SET_UP)
	rm -rf build/package
	mkdir -p build/package
	cp -r spliceai_jax build/package/
	cp -r convert build/package/spliceai_jax/convert
	$(BIN)/mypy --config-file pyproject.toml build/package/spliceai_jax
	cd build/package && ../../$(BIN)/lint-imports ../../pyproject.toml --no-cache

$(DOCS): $(SET_UP)
	$(call install,.venv) -e '.[docs]'
	touch $(DOCS)

# -n: every reference must lead somewhere; -W: a warning is an error.
docs: $(DOCS)
	$(BIN)/sphinx-build -q -E -n -W --keep-going -c docs . build/docs
	@echo build/docs/docs/index.html

# The picture of the demo's report, taken by chromium; the README's figures are compared with it.
docs-figures: demo
	$(BIN)/python docs/figures.py

# What a release consists of. The wheel must hold every file of the package, and work.
package: $(SET_UP)
	rm -rf dist build/wheel
	$(BIN)/python -m build
	$(BIN)/twine check --strict dist/*
	$(BIN)/pip install --quiet --no-deps --target build/wheel dist/*.whl
	git ls-files convert spliceai_jax | sed 's#^convert/#spliceai_jax/convert/#' | sort > build/tracked
	cd build/wheel && find spliceai_jax -type f ! -name '*.pyc' | sort | diff ../tracked -
	PYTHONPATH=build/wheel build/wheel/bin/spliceai-jax inspect demo/worm_400nt.pt

# OpenSpliceAI itself, to compare with; its environment sees what ours holds, torch above all.
$(STOCK): $(SET_UP)
	test -x .venv-stock/bin/python || $(BIN)/python -m venv .venv-stock
	$(BIN)/python -c 'import importlib.util, pathlib; print(pathlib.Path(importlib.util.find_spec("torch").origin).parents[1])' \
		> $$(.venv-stock/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/ours.pth
	.venv-stock/bin/pip install --quiet -c constraints.txt openspliceai==0.0.7
	touch $(STOCK)

bench-steps: $(SET_UP) $(STOCK)
	$(BIN)/python benchmarks/steps.py $(ARGS)

bench-run: $(SET_UP) $(STOCK)
	$(BIN)/python benchmarks/run.py $(ARGS)

bench-predict: $(SET_UP) $(STOCK)
	$(BIN)/python benchmarks/predict.py $(ARGS)

bench-data: $(SET_UP) $(STOCK)
	$(BIN)/python benchmarks/data.py $(ARGS)

# minimap2 2.31, for its option --spsc: the source of the Python package mappy holds the whole program.
$(MINIMAP2): constraints.txt
	rm -rf .minimap2
	$(BIN)/pip download --quiet --no-deps --no-binary mappy -d .minimap2 mappy==2.31
	tar xzf .minimap2/mappy-2.31.tar.gz -C .minimap2
	make --silent -C .minimap2/mappy-2.31 minimap2 CFLAGS='-O2 -w'
	mv .minimap2/mappy-2.31/minimap2 $(MINIMAP2)

bench-labels: $(SET_UP)
	$(BIN)/python benchmarks/labels.py $(ARGS)

bench-forgetting: $(SET_UP)
	$(BIN)/python benchmarks/forgetting.py $(ARGS)

bench-align: $(SET_UP) $(MINIMAP2)
	$(BIN)/python benchmarks/align.py $(ARGS)

# Learning curves, by many runs: hours to days. ARGS='--only PATTERN ...' chooses some, --list names them.
bench-quality: $(SET_UP) $(STOCK)
	$(BIN)/python benchmarks/quality.py $(ARGS)

bench-human: $(SET_UP)
	$(BIN)/python benchmarks/human_size.py $(ARGS)

# JAX and torch for NVIDIA cards, and both programs. With OURS and THEIRS, two Pythons that have them, none is made.
$(GPU): pyproject.toml constraints.txt
	test -x .venv-gpu/bin/python || $(PYTHON) -m venv .venv-gpu
	$(call install,.venv-gpu) -e '.[cuda]' openspliceai==0.0.7
	touch $(GPU)

OURS := .venv-gpu/bin/python
THEIRS := .venv-gpu/bin/python

bench-gpu: $(if $(filter .venv-gpu/bin/python,$(OURS) $(THEIRS)),$(GPU))
	$(OURS) benchmarks/gpu.py --ours $(OURS) --theirs $(THEIRS) $(ARGS)

# The TPU compiler that our JAX asks for, in a folder apart: where it is installed each start of JAX prints complaints.
$(TPU): $(SET_UP)
	rm -rf .libtpu
	$(BIN)/pip install --quiet --no-deps --target .libtpu "$$($(BIN)/python -c 'from importlib.metadata import requires; \
		print(next(line.partition(";")[0] for line in requires("jax") if line.startswith("libtpu")))')"
	touch $(TPU)

tpu-check: $(TPU)
	PYTHONPATH=.libtpu $(BIN)/python benchmarks/tpu_check.py $(ARGS)
