# `make demo` and `make test` need a Debian machine with Go; they set up the rest.

SHELL       := /bin/bash
.SHELLFLAGS := -euo pipefail -c

TOOLS   := $(CURDIR)/.cache/tools
# Without the path of the checkout in them, what one clone compiled serves all.
export GOFLAGS += -trimpath
GOFLAGS_RELEASE := -ldflags "-s -w"

# Everything but the tests that drive whole servers: those run on their own,
# after the rest, because they load the machine.
UNIT     = $$(go list ./... | grep -v '/internal/e2e')
E2E      = ./internal/e2e/...
FUZZTIME ?= 30s
SOAK     ?= 30m

.PHONY: help build agents setup-build setup-test setup-bench demo test check fmt lint generated tidy race e2e sim \
	gates bench soak soak-sim fuzz clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: setup-build ## put the programs in bin/ and the inference library in bin/lib/
	@mkdir -p bin
	@if [ -d cmd/slipway ]; then CGO_ENABLED=0 go build $(GOFLAGS_RELEASE) -tags grpcnotrace -o bin/ ./cmd/slipway; fi
	@CGO_ENABLED=0 go build $(GOFLAGS_RELEASE) -tags grpcnotrace -o bin/ ./cmd/slipway-agent
	@if [ -d cmd/slipway-onnx ]; then CGO_ENABLED=1 go build $(GOFLAGS_RELEASE) -o bin/ ./cmd/slipway-onnx; fi
	@if [ -x scripts/fetch-onnxruntime.sh ]; then scripts/fetch-onnxruntime.sh; fi

agents: ## the device agent for amd64, arm64 and armv7 in bin/agents/
	@mkdir -p bin/agents
	@for arch in amd64 arm64 arm; do \
		CGO_ENABLED=0 GOOS=linux GOARCH=$$arch GOARM=7 go build $(GOFLAGS_RELEASE) -tags grpcnotrace \
			-o bin/agents/slipway-agent-linux-$${arch/%arm/armv7} ./cmd/slipway-agent; \
	done
	@ls -l bin/agents

setup-build setup-test setup-bench: setup-%:
	@scripts/setup.sh $*

demo: build ## watch a model being deployed, and replaced under load
	bin/slipway demo

test: setup-test build check sim e2e ## everything: make check, the simulation, then whole servers with real clients

check: fmt lint generated tidy race ## format, vet, staticcheck, generate, tidy, import rules, tests with -race

$(TOOLS)/gofumpt $(TOOLS)/staticcheck &: tools/go.mod tools/go.sum
	@mkdir -p $(TOOLS)
	GOBIN=$(TOOLS) go -C tools install tool

$(TOOLS)/lint: tools/go.mod tools/go.sum $(wildcard tools/lint/*.go tools/interfaces/*.go)
	go -C tools test ./lint ./interfaces
	go -C tools build -o $@ ./lint

fmt: $(TOOLS)/gofumpt
	@unformatted=$$(git ls-files --cached --others --exclude-standard '*.go' | grep -v '_gen\.go$$' | \
		xargs $(TOOLS)/gofumpt -l); \
	if [ -n "$$unformatted" ]; then echo "run gofumpt -w on:"; echo "$$unformatted"; exit 1; fi

lint: $(TOOLS)/staticcheck $(TOOLS)/lint
	go vet ./...
	go vet -vettool=$(TOOLS)/lint ./...
	$(TOOLS)/staticcheck ./...
	go -C tools run ./interfaces ..

generated:
	@scripts/check-generated.sh

tidy:
	go mod tidy -diff
	go -C tools mod tidy -diff

# Many tests wait, for timers and for databases: three at a time keep two cores
# busy. Lint has vetted them.
race: setup-test
	SLIPWAY_REQUIRE_POSTGRES=1 SLIPWAY_REQUIRE_CLIENTS=1 go test -race -vet=off -p 3 -timeout 20m $(UNIT)

e2e: setup-test build
	SLIPWAY_REQUIRE_POSTGRES=1 go test -vet=off -parallel 3 -timeout 30m $(E2E)

sim: ## 100,000 deployments under virtual time, every fifth of them through the store, all promises checked
	SLIPWAY_SIM_ROLLOUTS=100000 go test -timeout 30m -v ./internal/sim
	SLIPWAY_SIM_BAKES=2000 go test -timeout 20m ./internal/gates

gates: ## measure on 100,000 bakes what gates promise (half an hour of a core), and write it into docs/gates.md
	go run ./internal/gates -keep .cache/gates -write .

bench: setup-bench build ## measure the router against nginx and HAProxy, and the rest of the promises
	go run ./internal/bench

soak: setup-test build ## the availability tests for a long time (SOAK=30m)
	SLIPWAY_SOAK=$(SOAK) go test -timeout 0 -run 'Soak' -v $(E2E)

soak-sim: ## the same with a million (other lives: SLIPWAY_SIM_FROM=<first seed>)
	SLIPWAY_SIM_ROLLOUTS=1000000 go test -timeout 0 -v ./internal/sim

fuzz: ## each fuzz target for FUZZTIME (30s)
	@scripts/fuzz.sh $(FUZZTIME)

clean:
	rm -rf bin .cache
