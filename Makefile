# For work on this repository. What a user runs is knn-metric, which `make setup` installs.
SUPPORTED = import ensurepip, sys; print(sys._base_executable); sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
IDENTITY = import sys; print(sys.version, sys.base_prefix)
LOCKED = import fcntl, subprocess, sys; f = open("Makefile"); fcntl.flock(f, 2); sys.exit(subprocess.call(sys.argv[1:]))
PINS = requirements.txt scripts/requirements.txt requirements-dev.txt pyproject.toml
ifeq ($(shell test -L .venv && echo link),link)
$(error .venv is a link to a folder that would be emptied: remove it, each checkout has its own)
endif
# Install anew where .venv's interpreter is gone, or another one is asked for.
ANEW := $(shell test "`$(or $(PYTHON),.venv/bin/python) -c '$(IDENTITY)' 2>&1`" = "`cat .venv/installed 2>&1`" || echo anew)
GIVEN_PATH := $(PATH)
export PATH := $(CURDIR)/.venv/bin:$(PATH)
# Byte code of this machine has no place in src/, which is uploaded as it is.
export PYTHONDONTWRITEBYTECODE = 1
PYTEST = pytest -n auto --dist worksteal
.PHONY: help setup demo test lint matrix slow cluster soak bench clean anew

help:
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
setup: .venv/installed ## install knn-metric and its pins into .venv; PYTHON=path/to/python3 chooses
demo: setup ## train on the sample, replay requests, change a unit half-way
	rm -rf reports/demo && mkdir -p reports/demo/adult
	knn-metric new reports/demo/metric --for examples/adult
	knn-metric train --package reports/demo/metric --data sample --plot reports/demo/scores.png
	cp -r examples/adult/serving.yaml examples/adult/src reports/demo/adult
	python examples/adult/train.py --package reports/demo/adult --data sample
	knn-metric replay --package reports/demo/metric --target reports/demo/adult --data sample \
		--rows 1400 --corrupt age-in-months@700 --out reports/demo
test: setup ## run the test suite
	$(PYTEST)
lint: setup ## check style, formatting, type hints and the direction of imports
	ruff check . && ruff format --check .
	mypy && lint-imports
matrix: setup ## serve the artifact on every Python and beside every image's packages
	@printf '%s\n' 'train -p 3.11' 'train -p 3.13' hs | xargs -P 2 -I {} sh -c 'nox -s {}'
	@printf '%s\n' 3.6 3.7 3.8 3.11 3.12 3.13 | xargs -P 2 -I {} sh -c 'nox -s serve -p {}'
slow: setup ## run the tests that take long: UCI's figures, healthy traffic, the docs' lines
	$(PYTEST) -m slow
cluster: setup ## score a history on a real Dask cluster, and break it in every way
	pytest -n 2 -m cluster
soak: setup ## fuzz predict for long, and send a million requests through the local runtime
	pytest -s -m soak && pytest --hypothesis-profile soak tests/test_func_main.py
bench: setup ## measure requests, training and start beside pyod, then the scoring of histories
	python benchmarks/environments.py
	python benchmarks/histories.py
clean: ## remove .venv, reports and caches; artifact and data stay
	rm -rf .venv .nox reports .pytest_cache .hypothesis .ruff_cache .mypy_cache .import_linter_cache
	find . -name __pycache__ -prune -exec rm -rf {} +

.venv/installed: $(PINS) $(ANEW)
	@PATH='$(GIVEN_PATH)'; for name in $(or $(PYTHON),python3 python3.13 python3.12 python3.11); do \
		python=`$$name -c '$(SUPPORTED)' 2>/dev/null` && break; python=; done; \
	test -n "$$python" || { echo "make: $(or $(PYTHON),python3) is no Python 3.11 to 3.13 with" \
		"venv (Debian: python3-venv); give one: make PYTHON=/path/to/python3" >&2; exit 2; }; \
	$$python -c '$(LOCKED)' sh -ec 'test "`$$0 -c "$(IDENTITY)"`" = "`cat .venv/installed 2>&1`" && \
		test -z "`find $(PINS) -newer .venv/installed`" && exit; \
		echo "installing the pinned requirements into .venv with $$0, about a minute"; \
		$$0 -m venv --clear .venv; .venv/bin/python -m pip --quiet --disable-pip-version-check \
			install -r requirements-dev.txt --editable .; \
		$$0 -c "$(IDENTITY)" >.venv/installed' $$python
