# Needs make and Python 3.11 or newer; everything else is installed into $(VENV).
#
#   make test PYTHON=python3.12          in .venv-3.12
#   make test ARGS="-k replay -n 0"      further arguments for pytest
#   make bench QUICK=1                   a small run of 2 minutes; a full one takes 12
#   make bench ARGS="--only step,replay --against ../main"
#                                        two workloads, in turns with another checkout
#   make soak MINUTES=60                 an hour of kills

# python3 if it is new enough, else the newest one found; PYTHON= chooses, in a folder of its own
ifeq ($(origin PYTHON),undefined)
VENV ?= .venv
PYTHON = $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
else
VENV ?= .venv-$(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
endif
VENV := $(VENV)

CONSTRAINTS ?= constraints.txt
EXTRAS ?= all
PYTEST_ARGS ?= -n 2 --dist worksteal
ARGS ?=
QUICK ?=
MINUTES ?= 2

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -qq
CODE := $(wildcard plugin adapters tests examples benchmarks)
# folders too: their times tell that a file was removed
SOURCES := $(shell find plugin adapters -name __pycache__ -prune -o ! -name '*.pyc' -print)

# what is imported is the installed wheel
unexport PYTHONPATH

.DEFAULT_GOAL := help
.PHONY: help demo test test-adapters extras check bench soak crash lint types format wheel test-lowest test-newest constraints clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' Makefile

demo: $(VENV)/.wheel ## Run the main job: an agent that is killed, resumed, and pays once
	$(BIN)/rowtrail demo $(ARGS)

test: $(VENV)/.wheel ## Build the wheel, install it and run all tests on it
	ROWTRAIL_TEST_WHEEL=1 $(BIN)/pytest $(PYTEST_ARGS) $(ARGS)

extras: $(VENV)/.wheel ## Every pair of the extras, there and missing, and the base as pip installs it
	ROWTRAIL_TEST_WHEEL=1 ROWTRAIL_TEST_EXTRAS=1 $(BIN)/pytest $(PYTEST_ARGS) tests/extras $(ARGS)

check: lint types ## ruff, mypy --strict, pyright strict

bench: $(VENV)/.peers ## Run the benchmarks
	QUICK=$(QUICK) $(BIN)/python -m benchmarks $(ARGS)

# a benchmark without a peer that cannot be installed says which one is missing
$(VENV)/.peers: $(VENV)/.wheel
	@$(PIP) install -c $(CONSTRAINTS) --group bench || echo "without DBOS: it could not be installed" >&2
	@touch $@

soak: $(VENV)/.wheel ## Kill agents for MINUTES=2, and report what was lost: nothing
	$(BIN)/python -m tests.crash.soak --minutes $(MINUTES) $(ARGS)

crash: $(VENV)/.wheel ## Every kill, every fault, every case of every matrix: some hours
	ROWTRAIL_TEST_WHEEL=1 ROWTRAIL_KILLS=full $(BIN)/pytest $(PYTEST_ARGS) -o timeout=3600 $(ARGS)
	$(BIN)/python -m tests.crash.effects --jobs 4

lint: $(VENV)/.deps ## ruff alone
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)

types: $(VENV)/.deps ## mypy and pyright alone
	$(BIN)/mypy $(CODE)
	$(BIN)/basedpyright --pythonpath $(BIN)/python $(CODE)

format: $(VENV)/.deps ## Let ruff repair what it can
	$(BIN)/ruff check --fix-only $(CODE)
	$(BIN)/ruff format $(CODE)

wheel: $(VENV)/.wheel ## Build sdist and wheel into dist/
	@mkdir -p dist
	cp $(VENV)/dist/rowtrail-* dist/

# frameworks conflict with one another: environments of their own, with the wheel and one extra, the
# lowest versions on the oldest Python that there is, the newest on the newest
ADAPTERS = adk clients openai-agents pydantic-ai
CORNERS = lowest newest
CORNER ?= $(CORNERS)
PYTHON_lowest = $(PYTHON)
PYTHON_newest = $(shell for p in python3.13 python3.12 $(PYTHON); do \
	$$p -c '' 2>/dev/null && echo $$p && break; done)

test-adapters: $(VENV)/.wheel $(foreach adapter,$(ADAPTERS),$(CORNER:%=test-$(adapter)-%)) ## Every kill of every adapter; CORNER=lowest
	ROWTRAIL_TEST_WHEEL=1 ROWTRAIL_TEST_ADAPTERS=langgraph $(BIN)/pytest $(PYTEST_ARGS) \
		tests/adapters/test_adapter_suite.py $(ARGS)

define environment
$(CORNERS:%=test-$(1)-%): test-$(1)-%: $(VENV)/.wheel
	@$$(PYTHON_$$*) -m venv --clear $(VENV)-$(1)-$$*
	@$(VENV)-$(1)-$$*/bin/python -m pip --disable-pip-version-check -qq install --upgrade pip
	@$(VENV)-$(1)-$$*/bin/python -m pip --disable-pip-version-check -qq install \
		$$(if $$(filter newest,$$*),-c $(CONSTRAINTS)) --group $(1)-$$* $$$$(echo $(VENV)/dist/rowtrail-*.whl)[$(1)]
	ROWTRAIL_TEST_ADAPTERS=$(1) $(VENV)-$(1)-$$*/bin/pytest $(PYTEST_ARGS) \
		tests/adapters/test_$(subst -,_,$(1)).py tests/adapters/test_adapter_suite.py $(ARGS)
endef
$(foreach adapter,$(ADAPTERS),$(eval $(call environment,$(adapter))))

# without the other frameworks, whose floors go with other versions of what they share
EXTRAS_lowest = $(shell $(PYTHON) -c 'import tomllib; p = tomllib.load(open("pyproject.toml", "rb"))["project"]; \
	print(*(k for k in p["optional-dependencies"] if k not in "all $(ADAPTERS)".split()), sep=",")')

test-lowest: build/lowest.txt ## The tests on the oldest supported dependencies
	$(MAKE) test VENV=$(VENV)-lowest CONSTRAINTS=build/lowest.txt EXTRAS=$(EXTRAS_lowest)

test-newest: ## The tests on the newest dependencies there are
	rm -f $(VENV)-newest/.deps
	$(MAKE) test VENV=$(VENV)-newest CONSTRAINTS=/dev/null UPGRADE=--upgrade

constraints: ## Resolve everything anew and write constraints.txt
	@rm -rf $(VENV)-newest && mkdir -p build
	$(MAKE) $(VENV)-newest/.deps VENV=$(VENV)-newest CONSTRAINTS=/dev/null
	{ sed -n '/^#/p' constraints.txt; { grep '^colorama==' constraints.txt; \
	  $(VENV)-newest/bin/python -m pip freeze --all --exclude rowtrail --exclude setuptools; } \
	  | LC_ALL=C sort -f; } > build/constraints.txt
	mv build/constraints.txt constraints.txt

clean: ## Remove what was built, and the caches
	rm -rf build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find $(CODE) -name __pycache__ -prune -exec rm -rf {} +

# A stamp carries the time at which its recipe began: what changes meanwhile is seen next time.
$(VENV)/.deps: pyproject.toml $(filter-out /dev/null,$(CONSTRAINTS))
	@test -n "$(PYTHON)" || { echo "rowtrail needs Python 3.11 or newer: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "rowtrail needs Python 3.11 or newer: " + sys.version)'
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@touch $@.new
	@echo "installing the dependencies into $(VENV)"
	@$(PIP) install -c $(CONSTRAINTS) --upgrade pip
	@$(PIP) install -c $(CONSTRAINTS) $(UPGRADE) --group dev
	@$(PIP) install -c $(CONSTRAINTS) $(UPGRADE) --no-build-isolation ".[$(EXTRAS)]"
	@mv $@.new $@

$(VENV)/.wheel: $(VENV)/.deps $(SOURCES) README.md LICENSE
	@touch $@.new
	@rm -rf $(VENV)/dist
	@$(BIN)/python -m build --no-isolation --outdir $(VENV)/dist . >$(VENV)/build.log 2>&1 \
		|| { cat $(VENV)/build.log; exit 1; }
	@$(PIP) install --no-deps --force-reinstall $(VENV)/dist/rowtrail-*.whl
	@mv $@.new $@

# the floors of the dependencies and of the extras; `all` names the other extras, without floors, and
# those of frameworks are `make test-adapters`
build/lowest.txt: pyproject.toml
	@mkdir -p build
	$(PYTHON) -c 'import re, tomllib; p = tomllib.load(open("pyproject.toml", "rb"))["project"]; \
	  extras = {k: v for k, v in p["optional-dependencies"].items() if k not in "$(ADAPTERS)".split()}; \
	  lists = [p["dependencies"], *extras.values()]; \
	  floors = (re.match(r"([\w-]+)>=([\w.]+)", each) for floors in lists for each in floors); \
	  print(*sorted({f"{m[1]}=={m[2]}" for m in floors if m}), sep="\n")' > $@

# a source that vanishes while make looks is a change, not an error
$(SOURCES): ;
