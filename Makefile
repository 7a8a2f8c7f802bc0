# Everything a developer types. On a fresh machine Python 3.11+ and make are enough:
#   make demo     optimise the shipped model and show what changed (minutes)
#   make example  the same model for another accelerator
#   make test     the default test suite (minutes on two cores)
# Another interpreter: make PYTHON=python3.12 test. Another environment folder: make VENV=/tmp/v test.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
OUT ?= out
JOBS ?= 2

# Code comes from this checkout alone, whatever the caller's shell had set.
unexport PYTHONPATH PYTHONHOME VIRTUAL_ENV

# The CPU build of PyTorch for gradient steps. The build of the public index without "+cpu" brings
# gigabytes of CUDA, so it is not fallen back to: the tests that need it are skipped then.
TORCH ?= torch==2.13.0+cpu

.PHONY: audit licences schema screenshots help venv train test test-slow lint format types demo example lock wheel clean

help:
	@sed -n 's/^#   //p' Makefile; echo 'also: make venv train test-slow lint format types lock audit licences wheel clean'

venv: $(READY)

$(READY): requirements-dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "hwopt needs Python 3.11 or newer, and '$(PYTHON)' is $$($(PYTHON) --version 2>&1): try make PYTHON=python3.12" >&2; \
	  exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

train: $(READY)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check "$(TORCH)" 2>/dev/null || \
	  echo "no $(TORCH) on this package index: the tests with gradient steps are skipped"

# A file's tests stay together: they share what they set up.
test: $(READY)
	$(BIN)/python -m pytest -q -m "not slow" -n $(JOBS) --dist loadfile

test-slow: $(READY)
	$(BIN)/python -m pytest -q -m slow

# The JSON Schema of OUT.report.json, from the code.
schema: $(READY)
	$(BIN)/python -c "from hwopt.report.json_schema import report_schema; \
	from hwopt.report.jsonable import json_text; print(json_text(report_schema()), end='')" > docs/report.schema.json

# Pictures of the report that `make demo` wrote.
screenshots: $(READY)
	$(BIN)/python -m bench.screenshots $(OUT)/figures.edge-npu.report.json docs/images

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(READY)
	$(BIN)/mypy

# The calibration images are made by code, the same ones every time. First without them: exact
# rewrites alone; then with them, on an accelerator that starves on depthwise convolutions.
demo: $(READY)
	@mkdir -p $(OUT)
	@$(BIN)/python -m models.figures.prepare $(OUT)/figures >/dev/null
	$(BIN)/hwopt optimize models/figures/figures.onnx --target ethos-u55-256 \
	  --output $(OUT)/figures.exact.onnx --force
	$(BIN)/hwopt optimize models/figures/figures.onnx --target edge-npu \
	  --calib $(OUT)/figures/calib.npz --max-drop 0.02 --output $(OUT)/figures.edge-npu.onnx --force

# The same network for an accelerator whose weight stream is compressed: other rewrites pay.
example: $(READY)
	@mkdir -p $(OUT)
	@$(BIN)/python -m models.figures.prepare $(OUT)/figures >/dev/null
	$(BIN)/hwopt optimize models/figures/figures.onnx --target ethos-u55-256 \
	  --calib $(OUT)/figures/calib.npz --max-drop 0.02 --output $(OUT)/figures.ethos-u55-256.onnx --force

# Pins every development dependency for Linux, macOS and Windows with its hashes. The resolver
# lives in an environment of its own, thrown away afterwards; no index address is written.
lock:
	@tmp=$$(mktemp -d) && trap 'rm -rf "$$tmp"' EXIT && \
	$(PYTHON) -m venv "$$tmp/venv" && "$$tmp/venv/bin/pip" install --quiet --disable-pip-version-check "uv>=0.5" && \
	{ printf '%s\n' '# Development dependencies, pinned with hashes. Written by "make lock"; do not edit.' && \
	  "$$tmp/venv/bin/uv" pip compile pyproject.toml --quiet --extra dev --universal --python-version 3.11 \
	    --fork-strategy fewest --upgrade --generate-hashes --no-header --no-emit-index-url --no-emit-find-links \
	    --no-sources; } > "$$tmp/lock" && mv "$$tmp/lock" requirements-dev.lock

# Known vulnerabilities of every pinned package, from the OSV database (AUDIT=pypi: from the index). Without
# --strict a package that cannot be looked up would be passed over and the audit called clean.
AUDIT ?= osv
audit:
	@tmp=$$(mktemp -d) && trap 'rm -rf "$$tmp"' EXIT && \
	$(PYTHON) -m venv "$$tmp/venv" && "$$tmp/venv/bin/pip" install --quiet --disable-pip-version-check "pip-audit>=2.7" && \
	{ "$$tmp/venv/bin/pip-audit" --requirement requirements-dev.lock --require-hashes --disable-pip --strict \
	    --vulnerability-service $(AUDIT) --progress-spinner off 2>"$$tmp/log" || \
	  { tail -n 1 "$$tmp/log" >&2; echo "make audit: not clean, or it could not take place (no network?)" >&2; exit 1; }; }

licences: $(READY)
	$(BIN)/python -m bench.licences docs/licences.md

wheel: $(READY)
	$(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .

clean:
	rm -rf $(VENV) $(OUT) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
