# Every target installs what it needs into .venv first. `make help` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help

PYTHON ?= $(firstword $(foreach p,python3.11 python3.12 python3,$(shell command -v $(p))))
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# More key=value words for `make run` and `make sweep`, or options for `make test`.
ARGS ?=
SWEEP ?= reuse_ratio
DEMOS ?= results/demos
TRAIN ?= results/train/tiny_oft

.PHONY: help setup setup-simpler run test sweep tables demos train card card-openvla lint bench clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 22
	@echo "  The benchmark's own help: $(BIN)/python run.py --help"

$(STAMP): pyproject.toml scripts/setup.sh
	@scripts/setup.sh "$(or $(PYTHON),python3.11)" "$(VENV)"
	@touch $@

setup: $(STAMP) ## Create .venv and install everything (3.1 GB download); does nothing when it is up to date

setup-simpler: $(STAMP) ## Add SIMPLER: SAPIEN, ManiSkill, a software Vulkan driver where there is no NVIDIA driver
	@scripts/setup_simpler.sh "$(VENV)"

run: $(STAMP) ## The main job in small: ten tasks of libero_spatial, one episode pair each, table and report
	$(BIN)/python run.py suite.episodes_per_task=1 $(ARGS)

test: $(STAMP) ## All tests but those marked slow or gpu
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile $(ARGS)

sweep: $(STAMP) ## Success and latency against the reuse ratio; run again, it does only what is missing
	$(BIN)/python scripts/sweep.py $(SWEEP) $(ARGS)

tables: $(STAMP) ## The reference tables of libero_spatial, both placements; hours, and continues where it was stopped
	$(BIN)/python scripts/reference_tables.py $(ARGS)

# Colours, lights and scanned meshes that differ, so that the model does not cling to the looks of the built-in assets;
# tasks 4 and 9 again, because the cabinet leaves the hand the least room there. Official ones with cabinet and stove of
# another draw than the objects, as official episodes have them. Task 3 of libero_goal leaves some out.
demos: $(STAMP) ## Demonstrations of the scripted expert for `make train`, below $(DEMOS); continues likewise
	$(BIN)/python scripts/collect_demos.py --placement wide --demos-per-task 60 --output "$(DEMOS)/wide"
	$(BIN)/python scripts/collect_demos.py --placement official --demos-per-task 30 --jitter fixtures \
		--output "$(DEMOS)/official"
	$(BIN)/python scripts/collect_demos.py --placement wide --demos-per-task 40 --seed 1 --jitter colour light \
		--output "$(DEMOS)/wide_jitter"
	$(BIN)/python scripts/collect_demos.py --placement official --tasks 4 9 --demos-per-task 70 --seed 4 --jitter fixtures \
		--output "$(DEMOS)/official_cabinet"
	$(BIN)/python scripts/collect_demos.py --suite libero_object --demos-per-task 25 --output "$(DEMOS)/object"
	$(BIN)/python scripts/collect_demos.py --suite libero_goal --demos-per-task 25 --output "$(DEMOS)/goal" || [ $$? -eq 3 ]
	@if [ -n "$$VLACACHE_ASSETS_DIR" ]; then \
		$(BIN)/python scripts/collect_demos.py --placement official --demos-per-task 16 --seed 2 --assets auto \
			--render reference --output "$(DEMOS)/official_scanned"; \
	else echo "VLACACHE_ASSETS_DIR is not set: no demonstrations with scanned assets"; fi

train: demos ## Train tiny_oft from demonstrations, keep the checkpoint with the best closed-loop success; continues likewise
	scanned="$(DEMOS)/official_scanned"; [ -d "$$scanned" ] || scanned=; \
	$(BIN)/python scripts/train_tiny.py --demos \
		$(foreach name,wide official wide_jitter official_cabinet object goal,"$(DEMOS)/$(name)") $${scanned:+"$$scanned"} \
		--folder "$(TRAIN)" --suites libero_spatial libero_object libero_goal --placements official wide $(ARGS)

CARD = $(BIN)/python run.py cache=none suite.first_state=30
TABLES = results/libero_spatial
CHECKPOINTS = vlacache/models/checkpoints

card: $(STAMP) ## The model card of tiny_oft: from the runs of `make tables`, libero_object, libero_goal and scanned meshes
	$(CARD) suite=libero_object suite.episodes_per_task=5 run_id=card_object
	$(CARD) suite=libero_goal suite.episodes_per_task=5 run_id=card_goal
	[ -z "$$VLACACHE_ASSETS_DIR" ] || \
		$(CARD) suite=libero_spatial suite.episodes_per_task=5 assets=auto run_id=card_scanned
	$(BIN)/python scripts/write_model_card.py $(CHECKPOINTS)/tiny_oft \
		--run $(TABLES)_official/none $(TABLES)_wide/none $$(ls -d results/card_scanned 2>/dev/null) \
		results/card_object results/card_goal \
		$(foreach name,official wide,$(foreach control,blind replay,--control $(control)=$(TABLES)_controls/$(control)_$(name)))

card-openvla: $(STAMP) ## The model card of tiny_openvla: 400 episodes and its blind control, two hours on a core
	for placement in official wide; do \
		$(CARD) model=tiny_openvla suite.placement=$$placement suite.episodes_per_task=20 run_id=card_openvla_$$placement && \
		$(CARD) model=blind model.base=tiny_openvla suite.placement=$$placement suite.episodes_per_task=3 \
			run_id=card_openvla_blind_$$placement || exit; \
	done
	$(BIN)/python scripts/write_model_card.py $(CHECKPOINTS)/tiny_openvla \
		--run results/card_openvla_official results/card_openvla_wide $(foreach name,official wide,\
		--control blind=results/card_openvla_blind_$(name) --control replay=$(TABLES)_controls/replay_$(name))

lint: $(STAMP) ## Style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(STAMP) ## Latency of one policy call, with and without the cache, interleaved
	$(BIN)/python scripts/bench_latency.py $(ARGS)

clean: ## Remove .venv and caches; results/ stays
	rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache .hypothesis outputs multirun *.egg-info
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
