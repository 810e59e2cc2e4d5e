# `make` installs everything into .venv and runs the pipeline; `make test` and `make lint` check the code;
# `make bench` times it against what people use instead (on an otherwise idle machine).

PYTHON ?= python3
# An extra package index that has CPU builds of torch (a tenth of the size), e.g. make TORCH_INDEX=https://...
TORCH_INDEX ?=

# DVC starts `python` from PATH: it must be the one of the environment.
SYSTEM_PATH := $(PATH)
export PATH := $(CURDIR)/.venv/bin:$(PATH)
# What a user has set for pip outside environments has no place in one; where packages come from stays as it is set.
export PIP_USER := 0
unexport PIP_TARGET PIP_PREFIX PIP_ROOT
PIP_INSTALL = .venv/bin/python -m pip install $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))

.PHONY: all install test-install test lint bench bench-full
.DELETE_ON_ERROR:

all: install
	-@python -m stages.plan
	python -m dvc repro

# Environments that are half made or have moved are mended first, so that the stamps below are those of a whole one.
install:
	PATH='$(SYSTEM_PATH)' $(PYTHON) environment.py
	$(MAKE) --no-print-directory .venv/installed

test-install: install
	$(MAKE) --no-print-directory .venv/test-installed

.venv/installed: requirements.lock pyproject.toml
	$(PIP_INSTALL) -r requirements.lock
	$(PIP_INSTALL) --no-deps -e .
	touch $@

.venv/test-installed: requirements-test.lock .venv/installed
	$(PIP_INSTALL) -r requirements-test.lock
	touch $@

# A worker that crashes ends the run; started anew, it would wait for ever.
WORKERS = -n 2 --dist loadfile --no-loadscope-reorder --max-worker-restart 0

test: test-install
	python -m pytest $(WORKERS) --cov --cov-report=term-missing:skip-covered --cov-fail-under=90

lint: test-install
	python -m ruff check .
	python -m ruff format --check .
	python -m mypy
	lint-imports

bench: install
	python -m bench
	python -m bench --readme

bench-full: install
	python -m bench --full
	python -m bench --readme
