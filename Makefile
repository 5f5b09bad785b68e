# xvsock: virtual sockets between Xen domains.
#
# `make run` needs Go alone. Everything that boots real Xen needs QEMU and a few
# more Debian packages: as root they are installed, else their names are printed.

GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unreleased)
BUILD   := CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false -ldflags '-s -w -X main.version=$(VERSION)'

# What the real-Xen rig, the spin models, -race and the examples need on the machine.
PACKAGES := qemu-system-x86 seabios ipxe-qemu busybox-static kmod xz-utils mmdebstrap spin gcc libc6-dev python3 socat

# The walks that end or suspend a domain at every step make thousands of hosts one after
# the other, which the race detector's own runtime does not always survive. `make test`
# runs them without it.
WALKS := ^TestNothingIsLeftWhoever

.DEFAULT_GOAL := help

.PHONY: help build deb run run-xen test check fuzz bench profile soak deps clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## bin/xvsock, one static binary
	@mkdir -p bin
	$(BUILD) -o bin/xvsock .

deb: export SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2>/dev/null || echo 0)
deb: build ## bin/xvsock_VERSION_amd64.deb, with manual pages, completions and units
	@packaging/deb bin/xvsock $(VERSION) bin

run: build ## show it all on a simulated Xen host: needs Go only, no root
	@bin/xvsock sim

run-xen: build deps ## the same on real Xen in QEMU
	@XVSOCK_RIG=1 $(GO) run ./image/rig/demo

test: deps check ## everything, the real-Xen tests included
	XVSOCK_RIG=1 $(GO) test -pgo=off -count=1 -p 1 -timeout 60m ./...

# Without the profile nothing is compiled twice; what boots on Xen is built with it.
check: export GOFLAGS += -pgo=off
check: ## what needs no VM: format, vet, staticcheck, all tests with -race
	@out=$$(gofmt -l $$(find . -name '*.go' -not -path './build/*')); test -z "$$out" || { echo 'gofmt would change:'; echo "$$out"; exit 1; }
	$(GO) vet ./...
	$(GO) tool staticcheck ./...
	$(GO) test -race -short -skip '$(WALKS)' ./...
	cd examples/grpc && $(GO) vet ./... && $(GO) test -race -short ./...
	cd bench/native && $(GO) vet ./... && $(GO) test -race -short ./...

FUZZTIME ?= 20s
fuzz: ## each fuzz target for FUZZTIME (20s)
	@$(GO) list ./... | while read -r p; do \
	  for f in $$($(GO) test -list '^Fuzz' $$p | grep '^Fuzz'); do \
	    echo "$$p $$f"; $(GO) test -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZTIME) $$p || exit 1; \
	  done; done

bench: deps ## links beside libxenvchan on real Xen (build/bench.json, bench.svg), boots, AF_VSOCK beside AF_UNIX; without Xen beside AF_UNIX and yamux
	$(GO) test -run '^$$' -bench . -benchmem ./ring ./mux ./vsock ./manager/... ./daemon ./bridge/...
	$(GO) test -run '^$$' -bench Frontends ./bench/scale
	cd bench/native && $(GO) run .
	$(GO) test -run '^$$' -bench 'Boot|AFVsock|Vchan|Scale' -benchtime 1x -timeout 60m -v ./image

profile: ## default.pgo anew: where links spend their time, for the compiler (after changes in mux, link or ring)
	cd bench/native && $(GO) run . -profile ../../default.pgo

soak: deps ## the randomised tests, long; 100000 AF_VSOCK connections on real Xen
	$(GO) test -race -count=20 -timeout 0 ./ring ./mux ./link ./vsock ./xenstore ./sim/... ./manager ./manager/client ./daemon ./bridge/...
	XVSOCK_RIG=1 XVSOCK_SOAK=1 $(GO) test -count=1 -timeout 0 -run 'TestAppsOnXen/(the_programs|AF_VSOCK_reaches|socat|500)' -v ./image

deps: ## install what the real-Xen rig needs (root), or say what is missing
	@missing=; for p in $(PACKAGES); do \
	  dpkg-query -W -f '$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || missing="$$missing $$p"; \
	done; \
	test -z "$$missing" && exit 0; \
	if [ "$$(id -u)" = 0 ]; then \
	  echo "installing$$missing"; apt-get update -qq && \
	  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null; \
	else \
	  echo "real Xen in QEMU needs these Debian packages; as root: apt-get install$$missing"; exit 1; \
	fi

clean: ## remove what was built
	rm -rf bin build
