# Every command a contributor needs. `make` alone lists them.
.DEFAULT_GOAL := help
.PHONY: help tools clients checkers images cluster node fuzz generate lint test soak bench static image kind rust

CARGO ?= cargo
# In CI the committed Cargo.lock must fit Cargo.toml; at a desk cargo may bring it up to date.
LOCKED := $(if $(CI),--locked)
# Asked once, where the name of the folder is made.
TOOLS_BIN = $(shell tests/tools/tools.sh path)
# How often a loop of the soak repeats; `make test` leaves it to each test.
SOAK_ROUNDS ?= 1000
# Only the tests whose names hold this; all when empty.
SOAK_TESTS ?=
# How long the soak keeps the bridge under load; `make test` a minute.
SOAK_SECONDS ?= 1800
FUZZ_SECONDS ?= 60
# The image's binary needs no library of the system: glibc is in it. A static binary moves itself to where it was loaded;
# packed, the list of what to move is 10 KB instead of 1.7 MB.
STATIC_TARGET ?= $(shell uname -m)-unknown-linux-gnu
STATIC_FLAGS := ["-Ctarget-feature=+crt-static", "-Clink-arg=-Wl,-z,pack-relative-relocs"]
VERSION = $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
IMAGE ?= twinops:$(VERSION)
CONTAINER ?= docker
IMAGES := $(or $(CARGO_TARGET_DIR),target)/tmp/images

help: ## List these commands
	@sed -n 's/^\([a-z]*\):[^#]*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 18

tools: ## Build the Kubernetes programs that the tests run, once per version
	@tests/tools/tools.sh build

clients: ## Install the Ditto clients of others that the tests run, once per version
	@tests/clients/clients.sh build

checkers: ## Install what checks charts, manifests and workflows, once per version
	@tests/checkers/checkers.sh build

images: static ## Write the images of the node's pods: our static binary, Mosquitto, pause
	@tests/cluster/images.sh "$(IMAGES)"

cluster: tools images ## Start a Kubernetes of one node on this machine, and a shell in it (as root)
	@TWINOPS_TOOLS_BIN="$(TOOLS_BIN)" TWINOPS_CLUSTER_IMAGES="$(IMAGES)" tests/cluster/cluster.sh run

generate: tools rust ## Write crds/, docs/openapi-*.json, docs/settings.md, and the chart's schema, values table and rights
	$(CARGO) run $(LOCKED) -q -- crds --out crds
	$(CARGO) run $(LOCKED) -q -- crds --out charts/twinops/crds
	$(CARGO) run $(LOCKED) -q -- openapi > docs/openapi-engine.json
	$(CARGO) run $(LOCKED) -q -- openapi facade > docs/openapi-facade.json
	$(CARGO) run $(LOCKED) -q -- settings > docs/settings.md
	TWINOPS_GENERATE=1 TWINOPS_TOOLS_BIN="$(TOOLS_BIN)" $(CARGO) test $(LOCKED) -q --test suite -- the_schema_and_the_table_follow s44_rights_are_those

lint: rust ## Check the format, and clippy without a warning
	$(CARGO) fmt --check
	$(CARGO) clippy $(LOCKED) --all-targets -- -D warnings

test: tools clients checkers lint images ## Run every test: lint, unit, suite with a real API server, install on a real node
	TWINOPS_TOOLS_BIN="$(TOOLS_BIN)" $(CARGO) test $(LOCKED)
	@$(MAKE) --no-print-directory node

node: tools images ## Run only the tests that install the chart on a real node of Kubernetes (as root)
	TWINOPS_TOOLS_BIN="$(TOOLS_BIN)" $(CARGO) test $(LOCKED) --test install -- --test-threads 1

soak: tools clients images ## Run the same tests with many rounds (SOAK_ROUNDS), built for release; or only SOAK_TESTS
	TWINOPS_ROUNDS=$(SOAK_ROUNDS) TWINOPS_SOAK_SECONDS=$(SOAK_SECONDS) TWINOPS_TOOLS_BIN="$(TOOLS_BIN)" $(CARGO) test $(LOCKED) --release $(if $(SOAK_TESTS),-- --nocapture $(SOAK_TESTS))

fuzz: rust ## Feed the parsers random input for FUZZ_SECONDS each, a minute unless told
	TWINOPS_FUZZ_SECONDS=$(FUZZ_SECONDS) $(CARGO) test $(LOCKED) --lib fuzz -- --nocapture

bench: tools rust ## Build for release and run the benchmarks
	$(CARGO) build $(LOCKED) --release
	TWINOPS_TOOLS_BIN="$(TOOLS_BIN)" bench/run

static: rust ## Build the binary of the image: static
	@test -e "$$(cc -print-file-name=libc.a)" || { echo "make: the static C library is not installed: run apt-get install libc6-dev" >&2; exit 1; }
	@getconf GNU_LIBC_VERSION | awk '{ split($$2, is, "."); exit !(is[1] > 2 || is[2] >= 36) }' || \
		{ echo "make: packed relocations need glibc 2.36: run make image, which brings it" >&2; exit 1; }
	@# Flags of the caller would take the place of these.
	env -u RUSTFLAGS -u CARGO_ENCODED_RUSTFLAGS $(CARGO) rustc $(LOCKED) --profile image --target $(STATIC_TARGET) \
		--config 'target.$(STATIC_TARGET).rustflags=$(STATIC_FLAGS)' --bin twinops

image: ## Build the image (CONTAINER=docker or podman)
	$(CONTAINER) build --tag $(IMAGE) .

kind: image ## A cluster of kind with everything in it: image, chart, samples
	kind get clusters | grep -qx twinops || kind create cluster --config kind-config.yaml
	kind load docker-image $(IMAGE) --name twinops
	helm --kube-context kind-twinops upgrade --install twinops charts/twinops --namespace twinops --create-namespace \
		--values charts/twinops/values-laptop.yaml --wait --timeout 15m
	kubectl --context kind-twinops apply --server-side -f manifests/samples

rust:
	@command -v $(CARGO) >/dev/null || { echo "make: cargo is not installed: take Rust from https://rustup.rs" >&2; exit 1; }
