# Every command a contributor needs. `make` alone lists them.
.DEFAULT_GOAL := help
.PHONY: help tools clients fuzz generate lint test soak bench rust

CARGO ?= cargo
# In CI the committed Cargo.lock must fit Cargo.toml; at a desk cargo may bring it up to date.
LOCKED := $(if $(CI),--locked)
# Asked once, where the name of the folder is made.
TOOLS_BIN = $(shell tests/tools/tools.sh path)
# How often a loop of the soak repeats; `make test` leaves it to each test.
SOAK_ROUNDS ?= 1000
FUZZ_SECONDS ?= 60

help: ## List these commands
	@sed -n 's/^\([a-z]*\):[^#]*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 18

tools: ## Build kube-apiserver, etcd, kubectl and helm for the tests, once per version
	@tests/tools/tools.sh build

clients: ## Install the Ditto clients of others that the tests run, once per version
	@tests/clients/clients.sh build

generate: rust ## Write crds/ and docs/openapi-engine.json from the Rust types
	$(CARGO) run $(LOCKED) -q -- crds --out crds
	$(CARGO) run $(LOCKED) -q -- openapi > docs/openapi-engine.json

lint: rust ## Check the format, and clippy without a warning
	$(CARGO) fmt --check
	$(CARGO) clippy $(LOCKED) --all-targets -- -D warnings

test: tools clients lint ## Run every test: lint, unit, suite with a real API server
	TWINOPS_TOOLS_BIN="$(TOOLS_BIN)" $(CARGO) test $(LOCKED)

soak: tools clients rust ## Run the same tests with many rounds (SOAK_ROUNDS), built for release
	TWINOPS_ROUNDS=$(SOAK_ROUNDS) TWINOPS_TOOLS_BIN="$(TOOLS_BIN)" $(CARGO) test $(LOCKED) --release

fuzz: rust ## Feed the parsers random input for FUZZ_SECONDS each, a minute unless told
	TWINOPS_FUZZ_SECONDS=$(FUZZ_SECONDS) $(CARGO) test $(LOCKED) --lib fuzz -- --nocapture

bench: tools rust ## Build for release and run the benchmarks
	$(CARGO) build $(LOCKED) --release
	TWINOPS_TOOLS_BIN="$(TOOLS_BIN)" bench/run

rust:
	@command -v $(CARGO) >/dev/null || { echo "make: cargo is not installed: take Rust from https://rustup.rs" >&2; exit 1; }
