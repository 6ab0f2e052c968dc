# Everything a person or a machine runs on this project. `make help` lists it.

SHELL       := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# Where Go's own installer puts it, for shells that have not been told.
export PATH := $(PATH):/usr/local/go/bin

# Pinned, and built apart from go.mod: what a tool needs is not what the product needs.
GOLANGCI_LINT_VERSION := v2.15.0
DEADCODE_VERSION      := v0.52.0
TOOLS         := bin/tools
GOLANGCI_LINT := $(TOOLS)/golangci-lint-$(GOLANGCI_LINT_VERSION)
DEADCODE      := $(TOOLS)/deadcode-$(DEADCODE_VERSION)

CLIENTS     := testdata/clients testdata/esdbclients
TEST_TIME   ?= 25m
# Many tests wait for leases, time-outs and other processes rather than for a processor.
TEST_PARALLEL ?= 4
FUZZ_TIME   ?= 30s
SOAK_ROUNDS ?= 100
PKG         ?= ./...

## run        start Lethe with a small chat behind it on loopback, and print the page to look at
.PHONY: run
run:
	go run ./cmd/lethe serve

## build      build bin/lethe
.PHONY: build
build:
	go build -o bin/lethe ./cmd/lethe

## test       run every test with the race detector (as root on Debian it installs what is missing)
.PHONY: test
test: needs vaultserver
	go test -race -shuffle=on -parallel $(TEST_PARALLEL) -timeout $(TEST_TIME) $(PKG)

# A real Vault server for the tests, built once from its own module into the user's cache: minutes at first.
.PHONY: vaultserver
vaultserver:
	go test -count=1 -timeout 60m -run '^TestServerBuilds$$' ./keys/vault/vaulttest

## check      formatting, vet, linters, module files, dead code, the executed documents
.PHONY: check
check: $(GOLANGCI_LINT) $(DEADCODE)
	$(GOLANGCI_LINT) fmt --diff
	go vet ./...
	go fix -diff ./...
	$(GOLANGCI_LINT) run
	go mod tidy -diff
	go mod verify
	@dead=$$($(DEADCODE) -test ./...); if [ -n "$$dead" ]; then echo "code that nothing reaches:"; echo "$$dead"; exit 1; fi
	go test -count=1 ./docs

## bench      measure this machine: gateway, memory, recording, erasing, rebuilding, disk, latency
.PHONY: bench
bench: build vaultserver
	bin/lethe bench all
	go test -run '^$$' -bench '^BenchmarkMany' -benchtime 1x -timeout 60m .

## soak       the kill and crash tests, $(SOAK_ROUNDS) rounds each
.PHONY: soak
soak: needs vaultserver
	LETHE_SOAK_ROUNDS=$(SOAK_ROUNDS) go test -race -count=1 -timeout 4h -run 'Kill|KILL|Crash|Soak|ManyErasures' -v ./...

## fuzz       run every fuzz target for FUZZ_TIME each
.PHONY: fuzz
fuzz:
	@for package in $$(go list ./...); do \
	  for target in $$(go test -list '^Fuzz' $$package | grep '^Fuzz' || true); do \
	    echo "$$package $$target"; go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZ_TIME) $$package; \
	  done; \
	done

## mutants    break erasure, sealing and retention one line at a time in a copy; each must turn the tests red
.PHONY: mutants
mutants:
	go run ./testdata/mutants

## tools      build the pinned linters into bin/tools
.PHONY: tools
tools: $(GOLANGCI_LINT) $(DEADCODE)

# Installs with go install, named by version, so that a new pin is a new file.
define install
	@mkdir -p $(TOOLS)
	GOBIN=$(abspath $(TOOLS)) GOFLAGS= go install $(1)
	@mv $(TOOLS)/$(2) $@
endef

$(GOLANGCI_LINT):
	$(call install,github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_LINT_VERSION),golangci-lint)

$(DEADCODE):
	$(call install,golang.org/x/tools/cmd/deadcode@$(DEADCODE_VERSION),deadcode)

## needs      install, or name, what the end-to-end tests need beside Go
.PHONY: needs
needs:
	@.ci/needs $(CLIENTS)

## clean      remove what was built
.PHONY: clean
clean:
	rm -rf bin .cache lethe $(CLIENTS:%=%/node_modules)

## help       this list
.PHONY: help
help:
	@sed -n 's/^## //p' Makefile
