# make help says what there is. Needs Rust, Go and OpenSSL; everything else is built once, into a cache outside the tree
# (EXTERNAL_CA_CACHE, by default ~/.cache/external-ca-operator).

CARGO ?= cargo
IMAGE ?= ghcr.io/openchoreo/external-ca-operator
VERSION := $(shell sed -n '/^\[workspace\.package\]/,/^$$/s/^version = "\(.*\)"$$/\1/p' Cargo.toml)
CONTAINER ?= $(shell command -v docker || command -v podman || command -v buildah || echo docker)
SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2>/dev/null || echo 0)
# Most tests wait for a control plane most of the time, and may start one of their own: two for each core, at most four.
RUST_TEST_THREADS ?= $(shell n=$$((2 * $$(nproc 2>/dev/null || echo 2))); [ $$n -le 4 ] || n=4; echo $$n)
export RUST_TEST_THREADS SOURCE_DATE_EPOCH

.DEFAULT_GOAL := help
# No target is a file.
.PHONY: help fmt lint generate verify verify-generated verify-chart verify-alerts verify-deny verify-purity verify-house tools test simulate chaos differential fuzz digest bench demo static image chart

help: ## What there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

fmt: ## Format the code
	$(CARGO) fmt --all

lint: ## Formatting and clippy, warnings are errors
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	$(CARGO) clippy -p external-ca-operator --features test-authority --locked -- -D warnings

generate: ## The CRD, config/, deploy/, docs/reference.md and the chart's table of values, from their sources
	config/generate.sh

verify: verify-generated verify-chart verify-alerts verify-deny verify-purity verify-house ## Generated files, chart, alerts, dependencies, the house

verify-generated:
	@stale=; work=$$(mktemp -d) && trap 'rm -rf "$$work"' EXIT && config/generate.sh "$$work" && \
	for directory in charts config deploy docs; do diff -r -u "$$directory" "$$work/$$directory" || stale=1; done && \
	if [ -n "$$stale" ]; then echo "generated files are stale: run make generate" >&2; exit 1; fi
	@echo "generated files: up to date"

verify-chart:
	tests/chart.sh

verify-alerts:
	tests/alerts.sh

verify-deny:
	@tools=$$(tests/tools.sh cargo-deny) && \
	PATH="$$tools:$$PATH" $(CARGO) deny --locked check --hide-inclusion-graph bans licenses sources

# The core decides; it does no IO. Nor does the API crate.
verify-purity:
	@for crate in external-ca-core external-ca-api; do \
		tree=$$($(CARGO) tree --locked -p "$$crate" -e normal --prefix none --format '{p}') || exit 1; \
		if echo "$$tree" | grep -E '^(tokio|tokio-[a-z]+|async-std|smol|mio|hyper|hyper-[a-z]+|h2|reqwest|ureq|kube-client|kube-runtime|external-ca-operator) v'; then \
			echo "$$crate depends on an async runtime or an HTTP client" >&2; exit 1; \
		fi; \
	done
	@echo "core and api: no async runtime, no HTTP client"

# Short files and functions, and no circle of imports.
verify-house:
	$(CARGO) test --quiet --locked --workspace --test house

tools: # What the tests need and cargo does not build
	@tests/controlplane/build.sh
	@tests/peers/build.sh
	@for tool in helm kustomize kubebuilder controller-gen; do tests/tools.sh $$tool; done

test: tools ## Every test
	cd tests/peers && GOFLAGS=-mod=readonly GOTOOLCHAIN=local go test ./...
	$(CARGO) build --workspace --locked --all-targets
	$(CARGO) test --workspace --locked

simulate: ## SEEDS=100000 seeds of the simulation; `make test` runs 5,000
	SEEDS=$(or $(SEEDS),100000) $(CARGO) test --release --locked -p external-ca-tests --test simulation -- --nocapture

chaos: tools ## SEEDS=30 seeds of chaos against a real API server, from FROM=0 on; `make test` tells those that are fixed
	$(CARGO) build --locked -p external-ca-operator
	SEEDS=$(or $(SEEDS),30) $(CARGO) test --locked -p external-ca-tests --test chaos -- --nocapture

differential: ## SEEDS=200000 mutated certificates, judged here and by Go; `make test` compares 3,000
	SEEDS=$(or $(SEEDS),200000) $(CARGO) test --release --locked -p external-ca-core --test x509 differential -- --nocapture

FUZZ_TARGETS ?= pem certificate plane deployment pod duration
fuzz: ## Those certificates, and each target of tests/fuzz for SECONDS=60; `make test` mutates its corpus without guidance
	$(MAKE) --no-print-directory differential
	tests/fuzz.sh $(or $(SECONDS),60) $(FUZZ_TARGETS)

digest: ## What 5,000 seeds are planned, a line for each, into target/digest: to compare two versions of the planner
	DIGEST=$(CURDIR)/target/digest SEEDS=$(or $(SEEDS),5000) $(CARGO) test --release --locked -p external-ca-tests --test simulation what_is_planned -- --ignored

bench: tools static ## 100, 500 and 1,000 planes against a real API server, with the binary that the image ships
	EXTERNAL_CA_OPERATOR_BIN=$(CURDIR)/target/static/external-ca-operator $(CARGO) run --release --locked -p external-ca-tests --bin bench

demo: tools ## The whole guide on a control plane of its own; RELEASE=v1.2: without cert-manager, webhooks and all; KEEP=1 leaves it running
	$(CARGO) build --locked -p external-ca-operator
	$(CARGO) run --quiet --locked -p external-ca-tests --bin demo -- $(if $(KEEP),--keep) $(if $(RELEASE),--release=$(RELEASE))

static: ## The static binary that the image ships: target/static/external-ca-operator
	tests/static.sh

image: ## The container image
	$(CONTAINER) build --build-arg SOURCE_DATE_EPOCH=$(SOURCE_DATE_EPOCH) --tag $(IMAGE):$(VERSION) .

chart: ## The chart as a package in target/chart
	@"$$(tests/tools.sh helm)/helm" package charts/external-ca-operator --destination target/chart
