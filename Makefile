# `make demo` and `make test` are all a newcomer needs; `make help` lists the rest.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
JOBS ?= 2
VENV := .venv
BIN := $(VENV)/bin
PACKAGES := $(VENV)/.packages-installed
CORE := $(VENV)/.core-built
CORE_SOURCES := $(shell find csrc -type f -not -path '*/tests/*' 2>/dev/null)
MODULES := $(VENV)/.modules
CMAKE_NINJA := -G Ninja -DCMAKE_MAKE_PROGRAM=$(CURDIR)/$(BIN)/ninja --log-level=WARNING
# New memory is filled with NaN, so that a number read before it is written shows.
SANITIZER_OPTIONS := ASAN_OPTIONS=malloc_fill_byte=255:max_malloc_fill_size=1000000000 UBSAN_OPTIONS=print_stacktrace=1
# A name, a verb, a torchvision argument and a false positive rate.
NOT_MISSPELT := carin,steams,inpt,fpr

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help venv demo test test-core test-python check check-types bench-core bench-inference sanitize ablation docs notebooks clean

help: ## list these targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

venv: $(CORE) ## create .venv, install requirements.lock, build the C++ core

demo: venv ## make frames, run stages 1, 2 and 3 on them, write runs/demo/stage3/report.html
	@for stage in 1 2 3; do \
	    echo "== stage $$stage"; \
	    $(BIN)/python -m weakseg.stage$$stage experiment=demo; \
	done

test: test-core test-python ## run every test: C++ by ctest, then pytest

check: venv ## ruff, clang-format, codespell, mypy --strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	find csrc -name '*.cpp' -o -name '*.hpp' -o -name '*.h' | xargs -r $(BIN)/clang-format --dry-run -Werror
	git ls-files -- . ':!requirements.lock' ':!LICENSE' | xargs -r $(BIN)/codespell -L $(NOT_MISSPELT)
	$(MAKE) --no-print-directory check-types

bench-core: venv ## time the C++ core against pydensecrf; OPTIONS='--quick' for less
	$(BIN)/python benchmarks/core.py $(OPTIONS)

bench-inference: venv ## frames per second, torch against ONNX Runtime; OPTIONS='--quick' for less
	$(BIN)/python benchmarks/inference.py $(OPTIONS)

sanitize: venv ## run the C++ tests and 100,000 random cases under AddressSanitizer and UBSan
	@$(BIN)/cmake -S csrc -B build/sanitize $(CMAKE_NINJA) -DCMAKE_BUILD_TYPE=RelWithDebInfo \
	    -DCMAKE_CXX_FLAGS_RELWITHDEBINFO="-O2 -g -D_GLIBCXX_ASSERTIONS" -DWEAKSEG_SANITIZE=ON \
	    -DWEAKSEG_BUILD_PYTHON=OFF -DWEAKSEG_BUILD_TESTS=ON -DWEAKSEG_RANDOM_CASES=100000
	@$(BIN)/cmake --build build/sanitize --parallel $(JOBS) -- --quiet
	@$(SANITIZER_OPTIONS) $(BIN)/ctest --test-dir build/sanitize --output-on-failure --parallel $(JOBS)

ablation: venv ## measure every step over seeds; OPTIONS='study=quick', or your data: see README
	$(BIN)/python -m weakseg.ablation $(OPTIONS)

docs: venv ## build the site: build/site/index.html
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict -f docs/site/mkdocs.yml
	@echo "open build/site/index.html"

notebooks: venv ## strip the notebooks' outputs
	$(BIN)/nbstripout notebooks/*.ipynb

clean: ## remove what was built here; keep .venv and runs
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
	find . -path ./$(VENV) -prune -o -path ./runs -prune -o -name __pycache__ -type d -print0 | xargs -0 -r rm -rf

# ---- the parts

test-core: venv
	@$(BIN)/cmake -S csrc -B build/ctest $(CMAKE_NINJA) -DCMAKE_BUILD_TYPE=Release \
	    -DWEAKSEG_BUILD_PYTHON=OFF -DWEAKSEG_BUILD_TESTS=ON
	@$(BIN)/cmake --build build/ctest --parallel $(JOBS) -- --quiet
	@$(BIN)/ctest --test-dir build/ctest --output-on-failure --parallel $(JOBS)

# One thread a worker: two pytest workers that each start a thread pool are slower than one.
test-python: venv
	@OMP_NUM_THREADS=1 MPLBACKEND=Agg $(BIN)/python -m pytest -n $(JOBS) -q --durations=15

# In the source tree `stages` and `conf` lie beside `weakseg`; mypy needs them where the wheel puts them.
check-types: venv
	@rm -rf build/types && mkdir -p build/types/weakseg
	@ln -s $(CURDIR)/weakseg/* $(CURDIR)/stages $(CURDIR)/conf build/types/weakseg/
	@cd build/types && ../../$(BIN)/python -m mypy --strict --config-file ../../pyproject.toml \
	    --cache-dir ../../.mypy_cache -p weakseg

$(PACKAGES): requirements.lock
	@command -v $(PYTHON) >/dev/null || { echo "weakseg needs Python 3.11 or newer, and '$(PYTHON)' is not found: install it or run 'make venv PYTHON=/path/to/python3'." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "weakseg needs Python 3.11 or newer, and $(PYTHON) is $$($(PYTHON) -V 2>&1): run 'make venv PYTHON=/path/to/a/newer/python3'." >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "$(PYTHON) cannot make virtual environments: install its venv module (on Debian and Ubuntu: apt-get install python3-venv)." >&2; exit 1; }
	@$(PYTHON) -c 'import pathlib, sys, sysconfig; sys.exit(not pathlib.Path(sysconfig.get_path("include"), "Python.h").exists())' || { echo "Python.h is missing, and the C++ core needs it: install $(PYTHON)'s headers (on Debian and Ubuntu: apt-get install python3-dev)." >&2; exit 1; }
	@command -v "$${CXX:-c++}" >/dev/null || { echo "No C++ compiler '$${CXX:-c++}' is found, and the core needs one with C++17: install g++ or clang, or set CXX." >&2; exit 1; }
	@echo "Creating $(VENV) with $$($(PYTHON) -V)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@total=$$(grep -c == requirements.lock); echo "Installing $$total packages into $(VENV) (about 6 GB; some minutes on a fast line)"; \
	$(BIN)/python -m pip install --progress-bar off -r requirements.lock 2> $(VENV)/pip-errors.txt | \
	    awk -v total=$$total '/-r requirements.lock/ { if (++n % 20 == 0 || n == total || / torch==/) { print "  " n " of " total " packages found"; fflush() } } \
	                          /^Installing collected/ { print "  unpacking them"; fflush() }' \
	    || { grep -v '^WARNING' $(VENV)/pip-errors.txt | tail -n 15 >&2; echo "The packages could not be installed; pip says why above." >&2; exit 1; }
	@touch $@

# The installation lists the modules there are: it has to be told of a new or moved one.
$(MODULES): FORCE | $(PACKAGES)
	@find weakseg stages conf -name '*.py' | sort | cmp -s - $@ \
	    || find weakseg stages conf -name '*.py' | sort > $@

FORCE:

$(CORE): $(PACKAGES) pyproject.toml $(CORE_SOURCES) $(MODULES)
	@echo "Building the C++ core"
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pip install -q -q --no-build-isolation --no-deps -e .
	@touch $@
	@echo "$(VENV) is ready"
