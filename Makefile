# leptir: `make help` lists the targets.
SHELL       := /bin/bash -o pipefail
GO          ?= go
TOOL        := $(GO) tool -modfile=tools/go.mod
MODULE      := github.com/backplane/leptir
VERSION     ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS     := -s -w -X $(MODULE)/internal/version.Version=$(VERSION)
PLUGINS     := $(notdir $(wildcard plugins/*))
# torture/ is a module of its own. It is built by a copy of its go.mod, which takes up whatever
# leptir itself has come to need.
INTORTURE   := cd torture && GOFLAGS='-mod=mod -modfile=../bin/tools/torture.mod'
SERVERS     := /(redis|mongodb|sqs)$$|/host$$

.PHONY: help
help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## build bin/leptir-host, bin/leptirctl and bin/plugins/*
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/ ./cmd/...
	@mkdir -p bin/plugins && chmod go-w bin/plugins
	CGO_ENABLED=0 $(GO) build -tags grpcnotrace -trimpath -ldflags '$(LDFLAGS)' -o bin/plugins/ ./plugins/...

.PHONY: demo
demo: build ## see the main job done: run, time out and record tasks on the embedded default
	$(GO) run ./internal/demo

.PHONY: test
test: bin/tools/torture.mod ## everything, with the race detector; under 8 minutes on 2 cores
	@$(GO) build -o bin/tools/testreport ./internal/testreport
	@# What measures real time against real servers runs by itself.
	export LEPTIR_TESTBIN=$$(mktemp -d) && trap 'rm -rf "$$LEPTIR_TESTBIN"' EXIT && \
	{ $(GO) test -race -json -timeout 15m $$($(GO) list ./... | grep -vE '$(SERVERS)'); \
	  $(GO) test -race -json -timeout 15m -p 1 $$($(GO) list ./... | grep -E '$(SERVERS)'); \
	  ($(INTORTURE) $(GO) test -race -json -timeout 10m ./...); } | bin/tools/testreport

.PHONY: bin/tools/torture.mod
bin/tools/torture.mod:
	@mkdir -p bin/tools && cp torture/go.mod $@ && sort -u go.sum torture/go.sum > bin/tools/torture.sum

# For example TORTURE="-broker redis -seed 7 -v"; see docs/torture.md.
TORTURE     ?= -broker all
.PHONY: torture
torture: bin/tools/torture.mod ## prove that nothing is lost under random kills: TORTURE="-broker redis -seed 7"
	$(INTORTURE) $(GO) build -o ../bin/tools/torture .
	bin/tools/torture $(TORTURE)

.PHONY: lint
lint: bin/tools/torture.mod ## gofmt, go vet, staticcheck, and that the generated code is up to date
	@files=$$(gofmt -l $$(git ls-files '*.go')); [ -z "$$files" ] || { echo "not gofmt-ed: $$files"; exit 1; }
	$(GO) vet ./...
	$(TOOL) staticcheck ./...
	$(GO) build -modfile=tools/go.mod -o bin/tools/ honnef.co/go/tools/cmd/staticcheck
	$(INTORTURE) $(GO) vet ./...
	$(INTORTURE) ../bin/tools/staticcheck ./...

.PHONY: man
man: ## the man pages, in bin/man
	$(GO) run -ldflags '$(LDFLAGS)' ./internal/clidocs -man bin/man

.PHONY: chaos
chaos: ## misbehaving plugins of every kind beside a well-behaved one, and what they cost it
	LEPTIR_CHAOS=1 $(GO) test -timeout 20m -v -run 'TestChaos' ./host | grep -vE '^(=== |    host_test)'

.PHONY: isolation
isolation: ## the figures of docs/isolation.md: 500 kills, and 10,000 starts that leave nothing
	LEPTIR_FIGURES=1 $(GO) test -timeout 30m -v -run 'TestKillLatency|TestFreshThroughput' ./host | grep -E '_test.go|^(---|ok|FAIL)'
	LEPTIR_FIGURES=1 $(GO) test -timeout 30m -v -run 'TestNothingLeaks|TestFirstResult|TestStorm' ./host/process | grep -E '_test.go|^(---|ok|FAIL)'
	$(GO) test -run '^$$' -bench Warm -benchtime 100x ./host/pool

.PHONY: fuzz
fuzz: ## run every fuzz test for FUZZTIME (default 30s)
	@set -e; for pkg in $$($(GO) list ./...); do \
	  for f in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
	    echo "$$pkg $$f"; $(GO) test -run '^$$' -fuzz "^$$f$$" -fuzztime $${FUZZTIME:-30s} -fuzzminimizetime 20x $$pkg; done; done

# QUICK=1 is one round of small sizes, RUN=regexp chooses cases, PEERS=all adds Celery and BullMQ.
.PHONY: bench
bench: ## measure leptir beside other queues: QUICK=1, RUN=regexp, PEERS=all, ROUNDS=5
	cd bench && $(GO) run . $(if $(QUICK),-quick,-out results/latest.json -rounds $(or $(ROUNDS),5)) -run '$(RUN)' -peers '$(PEERS)'

.PHONY: bench-report
bench-report: ## make the tables and the plot of docs/performance.md from bench/results/latest.json
	cd bench && $(GO) run . -report results/latest.json

.PHONY: bench-guard
bench-guard: ## compare what the hot paths allocate with bench/baseline.json; under 60 s
	cd bench && $(GO) vet ./... && $(GO) test ./... && $(GO) run . -guard

.PHONY: generate
generate: ## make the protobuf code anew (needs protoc: apt-get install protobuf-compiler)
	$(GO) build -modfile=tools/go.mod -o bin/tools/ google.golang.org/protobuf/cmd/protoc-gen-go google.golang.org/grpc/cmd/protoc-gen-go-grpc
	PATH="$(CURDIR)/bin/tools:$$PATH" protoc --go_out=. --go_opt=module=$(MODULE) \
		--go-grpc_out=. --go-grpc_opt=module=$(MODULE) plugin-sdk/proto/plugin.proto

.PHONY: tidy
tidy: ## make go.mod and go.sum name just what is needed
	$(GO) mod tidy
	cd tools && $(GO) mod tidy
	cd bench && $(GO) mod tidy
