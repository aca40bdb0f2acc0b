# `make` prints the targets. Some take variables: make train DATA=sample

SUPPORTED = import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
IDENTITY = import sys; print(sys.version, sys.base_prefix)
# What was typed reaches the scripts by the environment, as it was typed: `$$`, quotes and spaces too.
GIVEN := $(foreach name,$(.VARIABLES),$(if $(filter command,$(origin $(name))),$(name)))
$(foreach name,$(GIVEN),$(eval override $(name) := $$(value $(name))))
GIVEN := $(filter-out PYTHON,$(GIVEN))
TAKE_NONE = help demo test slow lint matrix cluster soak setup clean
ifneq ($(GIVEN),)
export $(GIVEN)
ifneq ($(filter $(or $(MAKECMDGOALS),help),$(TAKE_NONE)),)
$(error $(firstword $(filter $(or $(MAKECMDGOALS),help),$(TAKE_NONE))) takes no $(firstword $(GIVEN)))
endif
endif
ifeq ($(shell test -L .venv && echo link),link)
$(error .venv is a link to a folder that would be emptied: remove the link, each checkout has its own)
endif
ifdef PYTHON
# Another interpreter than that of .venv was asked for: install anew.
ANEW := $(shell test "`$(PYTHON) -c '$(IDENTITY)' 2>&1`" = "`cat .venv/installed 2>&1`" || echo anew)
endif
PY = .venv/bin/python
# For a script that takes its options from what was typed.
RUN = MAKE_TARGET=$@ MAKE_GIVEN="$(GIVEN)" $(PY)
NOX = $(PY) -m nox
TWO_AT_A_TIME = xargs -P 2 -I {} sh -c
# Byte code of this machine has no place in src/, which is uploaded as it is.
export PYTHONDONTWRITEBYTECODE = 1
DEMO = reports/demo

.PHONY: help demo contract train evaluate shadow score explain serve check image upload metric \
	watch test lint matrix slow cluster bench score-bench soak setup clean anew

help: ## print this list
	@echo "usage: make TARGET [VARIABLE=...]"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "Each option of a script is a variable too: OUT=folder is --out, FORCE=1 is --force."

demo: setup ## train on the sample, replay requests, change a unit half-way
	@mkdir -p $(DEMO)/adult
	@cp -r serving.yaml src $(DEMO)
	@cp -r examples/adult/serving.yaml examples/adult/src $(DEMO)/adult
	@$(PY) scripts/train.py --data sample --out $(DEMO)/monitoring_model.joblib --plot $(DEMO)/knn_comparison.png
	@$(PY) examples/adult/train.py --data sample --out $(DEMO)/adult/classifier.json
	@$(PY) scripts/shadow.py --data sample --rows 1400 --drift age-in-months@700 \
		--metric $(DEMO) --target $(DEMO)/adult --reports $(DEMO)

contract: setup ## print the inputs of a metric for TARGET=name:version or FROM=path/to/package
	@$(RUN) scripts/contract.py

train: setup ## train on DATA=uci|sample|PATH: CONTAMINATION SEED MODEL
train: GIVEN := $(filter-out MODEL,$(GIVEN))
train:
	@$(RUN) "$${MODEL:-scripts}/train.py"

evaluate: setup ## measure which corruptions are detected, and when: DATA, TARGET, DRIFT=name,name
	@$(RUN) scripts/evaluate.py

shadow: setup ## replay ROWS=n of DATA through both models: DRIFT=name@row TARGET METRIC=host:port
	@$(RUN) scripts/shadow.py

score: setup ## score recorded requests: DATA=files OUT=folder OVERWRITE=1 SCHEDULER=tcp://HOST:PORT
	@$(RUN) scripts/score.py

explain: setup ## say which field a score comes from: ROW="age=39 ...", or TARGET=name:version REQUEST=id
	@$(RUN) scripts/explain.py

serve: setup ## serve the function on gRPC: PORT, HOST, MODEL
	@$(RUN) scripts/serve.py

check: setup ## say what would go wrong after an upload: MODEL RUNTIME=image ALLOW_SAMPLE=1
	@$(RUN) scripts/check.py

image: setup ## check, then write and build the platform's image: the same variables
	@$(RUN) scripts/image.py

upload: setup ## check, then upload with the hs of either generation: the same variables
	@$(RUN) scripts/upload.py

metric: setup ## attach METRIC=name:version to TARGET=name:version: NAME DETACH=1 LIST=1 CLUSTER
	@$(RUN) scripts/metric.py

watch: setup ## say whether the traffic of TARGET=name:version has changed: SINCE=2h FOLLOW=60 NOTIFY=1
	@$(RUN) scripts/watch.py

test: setup ## run the test suite
	@$(PY) -m pytest -n auto --dist worksteal

lint: setup ## check style, formatting, type hints and the direction of imports
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy
	@.venv/bin/lint-imports

matrix: setup ## serve the artifact on every Python and beside every image's packages
	@printf '%s\n' 'train -p 3.11' 'train -p 3.13' hs | $(TWO_AT_A_TIME) '$(NOX) -s {}'
	@printf '%s\n' 3.6 3.7 3.8 3.11 3.12 3.13 | $(TWO_AT_A_TIME) '$(NOX) -s serve -p {}'

slow: setup ## run the tests that take long: figures on UCI's data, each kind of contract, the docs' lines
	@$(PY) -m pytest -n auto --dist worksteal -m slow

cluster: setup ## score a history on a real Dask cluster, and break it in every way
	@$(PY) -m pytest -n 2 -m cluster

bench: setup ## measure latency, start, training and batches beside pyod
	@$(RUN) benchmarks/environments.py

score-bench: setup ## measure the speed and memory of score on ten million rows
	@$(RUN) benchmarks/histories.py

soak: setup ## fuzz predict for long, and send a million requests through the local runtime
	@$(PY) -m pytest -s -m soak
	@$(PY) -m pytest --hypothesis-profile soak tests/test_func_main.py

setup: .venv/installed ## install the pinned requirements into .venv, if they or PYTHON=path changed

.venv/installed: requirements.txt requirements-dev.txt $(ANEW)
	@for python in $(or $(PYTHON),python3 python3.13 python3.12 python3.11) ""; do \
		$$python -c '$(SUPPORTED)' 2>/dev/null && break; done; \
	test -n "$$python" || { echo "make: $(or $(PYTHON),python3) is not a Python 3.11 to 3.13;" \
		"give one: make PYTHON=/path/to/python3" >&2; exit 2; }; \
	$$python -c 'import ensurepip' 2>/dev/null || { echo "make: $$python cannot make a .venv;" \
		"Debian and Ubuntu have what it lacks in python3-venv" >&2; exit 2; }; \
	$$python scripts/setup.py

clean: ## remove .venv, reports and caches; artifact and data stay
	rm -rf .venv .nox reports .pytest_cache .hypothesis .ruff_cache .mypy_cache .import_linter_cache
	find . -name __pycache__ -prune -exec rm -rf {} +
