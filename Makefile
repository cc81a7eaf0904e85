# `make help` lists the targets. A fresh Debian 12 with Go, Node and a C
# compiler is enough: what else is needed is installed from Debian's packages,
# npm and Go modules.

SHELL := /bin/bash
GO ?= go
VERSION ?=
GOLANGCI_LINT := bin/tools/golangci-lint-v2.15.0
FUZZTIME ?= 30s
SEEDS ?= 1000
FIRST_SEED ?= 1

# The packages whose tests run a Docker engine or a Kubernetes, which take all of
# the machine: one after the other, when those that look at the clock are through.
TAKE_ALL = $(addprefix ./,$(sort $(patsubst %/,%,$(dir $(shell git ls-files '*_test.go' ':!bench' ':!deploy' | xargs grep -lE '/(test/kube|docker/enginetest)"$$')))))

CONSOLE := internal/console/dist/index.html
CONSOLE_SOURCES := $(shell find web -path web/node_modules -prune -o -type f -print)

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z%-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-14s %s\n", $$1, $$2}'

.PHONY: run
run: deps build ## Install what sessions need, build, and run everything on this machine
	bin/streamspace up

.PHONY: deps
deps:
	@scripts/install-deps

.PHONY: build
build: $(CONSOLE) ## Build the whole program at bin/streamspace
	$(GO) build -trimpath -ldflags "-s -w -X main.version=$(VERSION)" -o bin/streamspace ./cmd/streamspace

# The binary of images: it needs nothing of the system that it runs on. The
# console has to be built.
.PHONY: static-binary
static-binary:
	CGO_ENABLED=1 $(GO) build -trimpath -tags osusergo,netgo,sqlite_omit_load_extension \
		-ldflags "-s -w -linkmode external -extldflags -static -X main.version=$(VERSION)" -o bin/static/streamspace ./cmd/streamspace

web/node_modules: web/package.json web/package-lock.json
	cd web && npm ci --no-audit --no-fund
	@touch $@

$(CONSOLE): web/node_modules $(CONSOLE_SOURCES)
	cd web && npm run --silent build
	@touch $@

.PHONY: test
test: ## Install what the tests need, build, and run all tests
	scripts/install-deps --test
	$(MAKE) build
	mkdir -p bin && { $(MAKE) --no-print-directory kube >bin/kube.log 2>&1 & } # while other tests run
	cd web && npm run --silent check && npm run --silent test
	$(GO) test -race -timeout 20m $$($(GO) list ./... | grep -Fxv "$$($(GO) list $(TAKE_ALL))")
	$(GO) test -count=1 ./tunnel # what carries streams, which race builds leave out
	cd bench && $(GO) test -timeout 10m ./...
	$(MAKE) kube
	$(GO) test -race -p 1 -timeout 20m $(TAKE_ALL)
	cd deploy && $(GO) test -timeout 10m ./...

.PHONY: kube
kube: ## Build the Kubernetes that tests run; about 10 minutes the first time
	scripts/build-kube

.PHONY: e2e
e2e: ## Drive the real program with a real browser
	scripts/install-deps --test
	$(MAKE) build
	$(MAKE) kube
	$(GO) test -count=1 -v -timeout 15m ./test/e2e/...

.PHONY: robustness
robustness: ## Kill, pause, stall and cut off the real program; prints how long each recovery took
	scripts/install-deps --test
	$(MAKE) build
	$(MAKE) kube
	$(GO) test -count=1 -v -timeout 15m ./test/robustness/...

.PHONY: verify
verify: fmt-check lint vet ## Check format, lint, vet and the import rules
	$(GO) test -count=1 .

.PHONY: fmt
fmt: ## Format the Go sources
	gofmt -w $$(git ls-files '*.go')

.PHONY: fmt-check
fmt-check:
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); \
	if [ -n "$$unformatted" ]; then echo "not formatted; run make fmt: $$unformatted"; exit 1; fi

.PHONY: vet
vet:
	$(GO) vet ./...
	cd bench && $(GO) vet ./...
	cd deploy && $(GO) vet ./...

$(GOLANGCI_LINT):
	GOBIN=$(CURDIR)/bin/tools $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
	mv bin/tools/golangci-lint $@

.PHONY: lint
lint: $(GOLANGCI_LINT) ## Run the linters
	$(GOLANGCI_LINT) run ./...

.PHONY: vulncheck
vulncheck: ## Look for known vulnerabilities; needs to reach their database
	$(GO) run golang.org/x/vuln/cmd/govulncheck@latest ./...

.PHONY: bench
bench: bench-launch bench-stream ## Run every benchmark

.PHONY: bench-%
bench-%: ## Run one benchmark: launch, stream, http, dispatch, placement, reconcile, docker or kubernetes; QUICK=1 ends within 50 s
	scripts/install-deps --bench
	$(MAKE) build
	cd bench && $(GO) run . $*

bench-kubernetes: kube

.PHONY: sim
sim: ## Run the simulation: SEEDS of them, from FIRST_SEED on
	cd sim && $(GO) test -run '^TestSeeds$$' -count=1 -timeout 2h -seeds $(SEEDS) -first $(FIRST_SEED)

.PHONY: sim-bugs
sim-bugs: ## Plant every known bug into a copy and show that the simulation finds it
	cd sim && $(GO) test -run '^TestPlantedBugs$$' -count=1 -timeout 1h -bugs all

.PHONY: fuzz
fuzz: ## Fuzz every parser, each for FUZZTIME
	@for package in $$($(GO) list ./...); do \
		for target in $$($(GO) test -list '^Fuzz' $$package | grep '^Fuzz'); do \
			echo "$$package $$target"; \
			$(GO) test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) $$package || exit 1; \
		done; \
	done

.PHONY: images
images: build ## Make the pictures of the README from the real program
	cd test/e2e && npm ci --no-audit --no-fund && node browser/screenshots.mjs

.PHONY: clean
clean: ## Remove what was built
	rm -rf bin web/node_modules test/e2e/node_modules test/e2e/artifacts
	find internal/console/dist -mindepth 1 ! -name .keep -delete
