# `make` prints the targets. Some take a variable: make train DATA=sample

DATA ?= uci
PYTHON ?= $(firstword $(foreach name,python3 python3.13 python3.12 python3.11,$(shell \
	$(name) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $(name))))
RUN = .venv/bin/python
# Byte code of this machine has no place in src/, which is uploaded as it is.
export PYTHONDONTWRITEBYTECODE = 1
DEMO = reports/demo

.PHONY: help setup train demo shadow evaluate serve check upload metric test matrix bench soak lint clean

help: ## print this list
	@echo "usage: make TASK [DATA=uci|sample|PATH] [MODEL=examples/adult] [DRIFT=name@row]"
	@echo "                 [TARGET=name:version] [RUNTIME=image] [PYTHON=python3.12]"
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/installed ## install the pinned requirements into .venv, if they changed

.venv/installed: requirements.txt requirements-dev.txt
	@test -n "$(PYTHON)" || { echo "make: no Python 3.11 or newer found; give one: make PYTHON=/path/to/python3" >&2; exit 2; }
	@echo "installing the pinned requirements into .venv with $(PYTHON), about a minute"
	@$(PYTHON) -m venv --clear .venv
	@$(RUN) -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

train: setup ## train on DATA: the metric, or MODEL=examples/adult
	@$(RUN) $(if $(MODEL),$(MODEL),scripts)/train.py --data "$(DATA)"

demo: setup ## train both models on the sample, shadow requests, break the traffic half-way
	@mkdir -p $(DEMO)/adult
	@cp -r serving.yaml src $(DEMO)
	@cp -r examples/adult/serving.yaml examples/adult/src $(DEMO)/adult
	@$(RUN) scripts/train.py --data sample --out $(DEMO)/monitoring_model.joblib --plot $(DEMO)/knn_comparison.png
	@$(RUN) examples/adult/train.py --data sample --out $(DEMO)/adult/classifier.json
	@$(RUN) scripts/shadow.py --data sample --rows 1400 --drift age-in-months@700 \
		--metric $(DEMO) --target $(DEMO)/adult --reports $(DEMO)

shadow: setup ## replay rows of DATA through both models, with DRIFT=name@row if given
	@$(RUN) scripts/shadow.py --data "$(DATA)" $(if $(DRIFT),--drift "$(DRIFT)")

evaluate: setup ## measure which corruptions of DATA the metric sees
	@$(RUN) scripts/evaluate.py --data "$(DATA)"

serve: setup ## serve the trained detector on gRPC, on APP_PORT or 9090
	@$(RUN) scripts/serve.py

check: setup ## say what would go wrong after an upload
	@$(RUN) scripts/check.py $(if $(MODEL),--folder "$(MODEL)")

upload: setup ## check, then upload with the hs of either generation
	@$(RUN) scripts/upload.py $(if $(MODEL),--folder "$(MODEL)") $(if $(RUNTIME),--runtime "$(RUNTIME)")

metric: setup ## attach the uploaded metric to TARGET=name:version
	@$(RUN) scripts/attach_metric.py "$(TARGET)"

test: setup ## run the test suite
	@$(RUN) -m pytest

matrix: setup ## serve the artifact on every Python and beside every image's packages
	@$(RUN) -m nox -f tests/noxfile.py

bench: setup ## measure latency, start-up, growth and batches beside pyod
	@$(RUN) scripts/bench.py --data "$(DATA)"

soak: setup ## fuzz predict, and send a million requests through the local runtime
	@$(RUN) -m pip install --quiet --disable-pip-version-check atheris==3.0.0 || true
	@SOAK=1 $(RUN) -m pytest -s tests/test_soak.py

lint: setup ## check style and formatting
	@$(RUN) -m ruff check .
	@$(RUN) -m ruff format --check .

clean: ## remove .venv, reports and caches; artifact and data stay
	rm -rf .venv .nox .hs reports .pytest_cache .hypothesis .ruff_cache
	find . -name __pycache__ -prune -exec rm -rf {} +
