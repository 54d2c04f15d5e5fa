# The two commands that matter: `make up` and `make test`. `make help` lists the rest.
SHELL := /bin/bash
.DEFAULT_GOAL := help
export PATH := $(HOME)/.local/bin:$(PATH)
RUN = uv run --quiet
CLUSTER = $(RUN) python -m e2e.cluster

.PHONY: help up test dev down status logs images bench-up generate lock fmt uv

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  \033[1mmake %-9s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

up: uv ## Bring up the three-zone cluster, the operator and the sample; does only what is not done yet
	@$(CLUSTER) up

test: uv ## Everything that must hold: format, lint, types, contracts, unit, chart and end-to-end tests
	@$(RUN) python -m e2e.cluster.check

dev: uv ## Rebuild and reload only what changed (under a minute)
	@$(CLUSTER) dev

status: uv ## Cluster, operator, Scoreboards and their conditions at a glance
	@$(CLUSTER) status

logs: uv ## Log lines of the operator and the stack; `make logs ARGS=-f` follows
	@$(CLUSTER) logs $(ARGS)

images: uv ## Build what changed and load it; `make images NAME="redis kafka"` for some
	@$(CLUSTER) images $(NAME)

bench-up: uv ## Measure how long `make up` and a Scoreboard take, and what they use
	@$(RUN) python -m e2e.bench.up

generate: uv ## Write what the API models generate: CRDs, the chart's copy and the reference
	@$(RUN) python -m scoreboard_operator.api.generate

lock: uv ## Write constraints.txt, the versions every image is built with
	@uv export --quiet --no-hashes --no-emit-workspace --all-packages --no-annotate --no-header -o constraints.txt

fmt: uv ## Format the code and mend what the linter can
	@$(RUN) ruff format . && $(RUN) ruff check --fix .

down: uv ## Delete the cluster; images and caches stay
	@$(CLUSTER) down

# uv is the one tool that everything else comes with.
uv:
	@command -v uv > /dev/null || python3 -m pip install --quiet --user --break-system-packages uv \
	  || { echo "uv is missing and pip could not install it: see https://docs.astral.sh/uv"; exit 1; }
