# Each verb calls one Python entry point. `make help` lists them.
.DEFAULT_GOAL := help
.PHONY: sim waves timeline tap test unit mutants cov lint bench regs clean help
python := .venv/bin/python

# a suite, or one of its tests, is a regression; else it is one run of guests
regression := $(or $(SUITE),$(TEST))

sim: ## guests send through the RTL NIC: GUESTS=4 MODE=iommu|native|windows|validated|split PCAP=file SEED=1 WAVES=1; a regression: SUITE=smoke|regress|nightly SEEDS=50 JOBS=2; one of its runs: TEST=name SEED=1
	@tools/bootstrap $(if $(regression),regress,sim)
	@$(python) -m $(if $(regression),tb.regress,tb.sim) $(args)

waves: ## one run again in GTKWave: SEED=1 PACKET=17 VIEW=send|receive|protection|revocation|interrupt|line|offload|errors|pci|link FROM=ns TO=ns, and what `make sim` takes, TEST=name as well; PLAN=file of a random system
	@WAVES=1 tools/bootstrap regress
	@$(python) -m tb.waves

timeline: ## where a run's time went, packet by packet: RUN=build/sim gets timeline.html and timeline.json (Perfetto)
	@tools/bootstrap timeline
	@$(python) -m tb.timeline $(args)

tap: ## Linux stacks through the NIC, as root: GUESTS=3 SEED=1, args="--stay"
	@tools/bootstrap sim iproute2:ip iputils-ping:ping iperf3 curl tshark
	@$(python) -m tb.tap $(args)

test: ## all tests: args="-k name" narrows them
	@WAVES=1 tools/bootstrap test tshark iproute2:ip iputils-ping:ping iperf3 curl gtkwave xvfb:Xvfb \
		chromium chromium-driver:chromedriver lcov:genhtml
	@$(python) -m pytest -n 2 --dist worksteal --junitxml=build/test/results.xml tests $(args)

unit: ## one RTL block's bench: BLOCK=fetch SEED=3 WAVES=1
	@tools/bootstrap test
	@$(python) -m tb.unit

mutants: ## bugs planted in the RTL one at a time: all must be found; ONLY=name,name JOBS=2
	@tools/bootstrap test
	@$(python) -m tests.mutants

cov: ## coverage of a regression, from a hole to its source line: SUITE=smoke|regress|nightly SEEDS=50 JOBS=2; of one test: TEST=name SEED=1
	@tools/bootstrap regress lcov:genhtml
	@$(python) -m tb.coverage $(args)

lint: ## Verilator, Yosys, ruff, mypy, generated files
	@tools/bootstrap test
	@$(python) -m tools.lint $(args)

bench: ## the figures: build/bench/summary.json; MODES=1: the five ways of sharing, side by side
	@WAVES=1 tools/bootstrap regress
	@$(python) -m tb.bench $(args)

regs: ## generate everything that comes from rtl/regs/myrmidon.rdl and tb/cosim/checkers/rules.toml
	@tools/bootstrap test
	@$(python) rtl/regs/generate.py
	@$(python) -m tb.cosim.checkers.generate

clean: ## remove build/ (the environment .venv stays)
	@rm -rf build

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /  make \1	/p' Makefile
