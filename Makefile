# `make help` lists the targets. Everything also works without make: see README.md.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help repro test evidence survey ui lint faults clean-list clean

ENVIRONMENT := .venv/.complete
RUN := PATH="$(CURDIR)/.venv/bin:$$PATH"

help:            ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/' | expand -t 14

repro: $(ENVIRONMENT)   ## the whole study: prepare, train, probe, selection, report
	@$(RUN) dvc repro
	@$(RUN) python -m src.report show=true

test: $(ENVIRONMENT)    ## every test
	@$(RUN) python -m pytest

evidence: $(ENVIRONMENT)   ## train the pools that criteria are judged on (hours; resumable), write docs/evidence-1.md and evidence-2.md
	@$(RUN) python -m src.evidence
	@$(RUN) python -m src.evidence round=second

survey: $(ENVIRONMENT)  ## train every method on both data sets (an hour and a half; resumable), write docs/methods.md
	@$(RUN) python -m src.survey jobs=2

ui: $(ENVIRONMENT)      ## the MLflow UI on this project's store, on http://127.0.0.1:5000
	@$(RUN) MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false mlflow ui --backend-store-uri sqlite:///mlruns/mlflow.db --host 127.0.0.1 --workers 1

lint: $(ENVIRONMENT)    ## style, format and types
	@$(RUN) ruff check . && $(RUN) ruff format --check . && $(RUN) mypy

faults: $(ENVIRONMENT)  ## 50 kills, signals, full disks and the like, each followed by a re-run that must give the identical study
	@$(RUN) python -m tests.faults 50

clean-list: $(ENVIRONMENT)  ## what no study needs, and its size; removes nothing
	@$(RUN) python -m src.clean

clean: $(ENVIRONMENT)   ## move what clean-list lists to the store's trash
	@$(RUN) python -m src.clean delete=true

# The marker comes last: an installation that breaks off leaves none and starts afresh. The base interpreter makes the
# environment, since the python on the PATH may be the one that is about to be deleted.
$(ENVIRONMENT): pyproject.toml constraints.txt
	@python=; for candidate in python3 python3.12 python3.11; do \
	  python=$$($$candidate -c 'import sys; print(sys._base_executable); \
	    sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))' 2>/dev/null) && break; python=; done; \
	if [ -z "$$python" ]; then echo "error: Stepwise needs Python 3.11 or 3.12 on the PATH" >&2; exit 1; fi; \
	if [ -e .venv ] && [ ! -e .venv/.begun ] && [ ! -e .venv/.complete ]; then \
	  echo "error: .venv wasn't made by make: move it away, or use it as README says (without make)" >&2; exit 1; fi; \
	rm -rf .venv && mkdir .venv && touch .venv/.begun && "$$python" -m venv .venv \
	&& .venv/bin/python -m pip install --quiet --disable-pip-version-check -e '.[test]' -c constraints.txt \
	&& touch $@
