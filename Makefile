# cleat: containers as systemd services. "make help" lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c

GO      ?= go
PREFIX  ?= /usr
DESTDIR ?=
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS := -s -w -X main.version=$(VERSION)
GOFILES := $(shell git ls-files '*.go' 2>/dev/null)
BINS    := cleat cleat-init cleat-stdiod cleat-netd cleat-healthd cleat-apid cleat-build cleat-compose
TOOL    := $(GO) tool -modfile=tools/go.mod

# How often a failed test is run again before it counts. What passes only then
# is listed at the end: it is to be mended, but does not hold up a landing.
RERUN  ?= 0
GOTEST := $(TOOL) gotestsum --format pkgname --rerun-fails-max-failures 5

# What cleat itself needs of the distribution, and what only its tests need.
RUN_DEPS  := systemd dbus
TEST_DEPS := systemd-container gcc libc6-dev busybox-static systemd-journal-remote docker-registry skopeo nftables iproute2 python3-docker docker-compose git openssh-server openssh-client
VM_DEPS   := qemu-system-x86 mmdebstrap e2fsprogs busybox-static
PACK_DEPS := bash-completion fish lintian man-db rpm zsh
VM_CACHE  ?= $(CURDIR)/.cache/vm
VM_SUITES ?= trixie bookworm

.DEFAULT_GOAL := build

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "%-12s %s\n", $$1, $$2}'

.PHONY: build
build: ## build the binaries into bin/
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/ $(addprefix ./cmd/,$(BINS))

.PHONY: deps
deps: ## install the distribution packages that cleat needs to run
	@scripts/install-packages $(RUN_DEPS)

.PHONY: test-deps
test-deps: ## install the distribution packages that the tests need
	@scripts/install-packages $(RUN_DEPS) $(TEST_DEPS)

.PHONY: test
test: test-deps build lint unit e2e ## everything that CI runs: vet, lint, unit and end-to-end tests

.PHONY: unit
unit: ## unit tests with the race detector
	CLEAT_TEST_ROOT=1 $(GOTEST) --rerun-fails=$(RERUN) --packages "$$($(GO) list ./... | grep -v /tests | xargs)" -- -race -timeout 20m

.PHONY: e2e
e2e: build ## end-to-end tests of the built binaries on real systemd
	CLEAT_TEST_ROOT=1 CLEAT_BIN=$(CURDIR)/bin $(GOTEST) --rerun-fails=$(RERUN) --packages ./tests/... -- -timeout 30m

.PHONY: test-vm
test-vm: packages ## boot virtual machines: the package, real limits, reboots, power cuts
	@scripts/install-packages $(VM_DEPS)
	for suite in $(VM_SUITES); do scripts/vm-image $(VM_CACHE) $$suite; done
	CLEAT_VM_IMAGES=$(VM_CACHE) CLEAT_VM_SUITES="$(VM_SUITES)" $(GO) test -count=1 -timeout 60m -v ./tests/vm

.PHONY: lint
lint: ## go vet and golangci-lint
	$(GO) vet ./...
	$(TOOL) golangci-lint run ./...

.PHONY: fmt
fmt: ## format all Go code
	gofmt -w $(GOFILES)

.PHONY: golden
golden: ## rewrite the golden files; review the diff like code
	$(GO) test ./unitgen ./sandbox/profile ./engine ./netd/nft ./compose -update

.PHONY: fuzz
fuzz: ## run every fuzz target for FUZZTIME (default 30s)
	@for pkg in $$($(GO) list ./...); do \
	  for target in $$($(GO) test -list '^Fuzz' $$pkg | grep ^Fuzz || true); do \
	    echo "$$pkg $$target"; $(GO) test -run '^$$' -fuzz "^$$target$$" -fuzztime $${FUZZTIME:-30s} $$pkg; \
	  done; \
	done

.PHONY: bench
bench: build ## measure against systemd-run, docker and podman where they are installed
	CGO_ENABLED=0 $(GO) build -o bin/peer ./tests/peer
	$(GO) build -o bin/bench ./tests/bench && CLEAT_BIN=$(CURDIR)/bin bin/bench

.PHONY: demo
demo: deps build ## from nothing to a container that systemd supervises
	@scripts/demo

.PHONY: install
install: build install-files ## install below DESTDIR and PREFIX

.PHONY: install-files
install-files:
	install -D -m 0755 bin/cleat $(DESTDIR)$(PREFIX)/bin/cleat
	for b in $(filter-out cleat,$(BINS)); do install -D -m 0755 bin/$$b $(DESTDIR)$(PREFIX)/libexec/cleat/$$b; done
	mkdir -p $(DESTDIR)$(PREFIX)/lib/systemd/system-generators
	ln -sfr $(DESTDIR)$(PREFIX)/bin/cleat $(DESTDIR)$(PREFIX)/lib/systemd/system-generators/cleat-generator
	for u in packaging/units/*.{service,socket,slice}; do \
	  install -D -m 0644 $$u $(DESTDIR)$(PREFIX)/lib/systemd/system/$$(basename $$u); \
	  sed -i 's#@LIBEXEC@#$(PREFIX)/libexec/cleat#g; s#@RUNROOT@#/run/cleat#g; s#@ROOT@#/var/lib/cleat#g' $(DESTDIR)$(PREFIX)/lib/systemd/system/$$(basename $$u); \
	done

.PHONY: packages
packages: build ## make packages for Debian, RPM distributions and Arch in dist/, and check them
	@scripts/install-packages $(PACK_DEPS)
	rm -rf dist
	packaging/build dist
	lintian --fail-on error,warning --tag-display-limit 0 dist/*.deb
	CLEAT_PACKAGES=$(CURDIR)/dist CLEAT_BIN=$(CURDIR)/bin $(GO) test -count=1 ./packaging

.PHONY: clean
clean: ## remove what was built
	rm -rf bin dist
