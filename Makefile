# `make` installs everything into .venv and runs the pipeline; `make test` and `make lint` check the code;
# `make bench` times it against what people use instead (on an otherwise idle machine); `make screenshots` takes pictures.

PYTHON ?= python3
# An extra package index that has CPU builds of torch (a tenth of the size), e.g. make TORCH_INDEX=https://...
TORCH_INDEX ?=

# DVC starts `python` from PATH: it must be the one of the environment.
export PATH := $(CURDIR)/.venv/bin:$(PATH)
# What a user has set for pip outside environments has no place in one; where packages come from stays as it is set.
export PIP_USER := 0
unexport PIP_TARGET PIP_PREFIX PIP_ROOT
PIP_INSTALL = .venv/bin/python -m pip install $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))

# `venv` makes pip last, with its own path inside: so an environment is known that was half made or has moved.
WHOLE = grep -qsF "$$(pwd -P)/.venv/bin/python" .venv/bin/pip && .venv/bin/python -c ''
$(shell { $(WHOLE); } >/dev/null 2>&1 || rm -f .venv/installed .venv/test-installed)
NEW_ENOUGH = import sys; \
	sys.version_info >= (3, 11) or sys.exit("Python %d.%d is too old: make PYTHON=python3.12" % sys.version_info[:2])

.PHONY: all install test lint screenshots bench bench-full
.DELETE_ON_ERROR:

all: install
	-@python -m stages.plan
	dvc repro
	@echo
	@echo 'Look at:    metrics/report.html (which model is better, and how sure that is) and metrics/samples.md'
	@echo 'Then ask:   source .venv/bin/activate && python -m llm chat    # python -m llm serve: a page'
	@echo 'And change: dvc exp run -S train.lr=1e-3    # more: notebooks/tour.ipynb, docs/exercises.md'

install: .venv/installed

.venv/installed: requirements.lock pyproject.toml
	{ $(WHOLE); } 2>/dev/null || { rm -rf .venv && $(PYTHON) -c '$(NEW_ENOUGH)' && $(PYTHON) -m venv .venv; }
	$(PIP_INSTALL) -r requirements.lock
	$(PIP_INSTALL) --no-deps -e .
	touch $@

.venv/test-installed: requirements-test.lock .venv/installed
	$(PIP_INSTALL) -r requirements-test.lock
	touch $@

# A worker that crashes ends the run; started anew, it would wait for ever.
WORKERS = -n 2 --dist loadfile --no-loadscope-reorder --max-worker-restart 0

test: .venv/test-installed
	pytest $(WORKERS) --cov --cov-report=term-missing:skip-covered --cov-fail-under=90

lint: .venv/test-installed
	ruff check .
	ruff format --check .
	mypy
	lint-imports

# The pictures in docs/screenshots, of the run that is here; Chromium has to be installed.
screenshots: .venv/test-installed
	.venv/bin/python -m tests.app.screenshots

bench: .venv/installed
	python -m bench
	python -m bench --readme

bench-full: .venv/installed
	python -m bench --full
	python -m bench --readme
