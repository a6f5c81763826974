# SPDX-License-Identifier: Apache-2.0
#
# make demo    build and trace a workload of finwait's own, in a private network namespace
# make test    every test, on this machine's kernel; installs what it needs on Debian
# make build   the program, ./finwait

SHELL := /bin/bash
GO ?= go
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)
PACKAGES := clang-14 llvm-14 clang-format-14 libbpf-dev iproute2 jq

.PHONY: all build demo test deps generate generate-check format-check lint unit browser kernel fuzz clean

all: build

build:
	CGO_ENABLED=0 $(GO) build -trimpath -o finwait ./cmd/finwait

demo: build
	$(SUDO) ./finwait demo

test: deps generate-check format-check lint unit browser kernel

# Debian packages that the tests use; the program itself needs Go alone.
deps:
	@missing=; for p in $(PACKAGES); do dpkg-query -W -f='$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || missing="$$missing $$p"; done; \
	if [ -n "$$missing" ]; then $(SUDO) apt-get update -qq && DEBIAN_FRONTEND=noninteractive $(SUDO) apt-get install -y -qq --no-install-recommends $$missing; fi

# The compiled BPF objects are committed; these compile them anew, and compare.
generate: deps
	cd bpf && BPF2GO_CC=clang-14 BPF2GO_STRIP=llvm-strip-14 $(GO) generate ./...

generate-check: deps
	@cp -r bpf/. $(or $(TMPDIR),/tmp)/finwait-bpf.$$$$ && before=$(or $(TMPDIR),/tmp)/finwait-bpf.$$$$ && trap "rm -rf $$before" EXIT && \
	$(MAKE) --no-print-directory generate && \
	diff -r $$before bpf || { echo 'bpf/: the committed objects are not what the C compiles to; run make generate and commit'; exit 1; }

format-check: deps
	@bad=$$(gofmt -l bpf cmd output tracer); [ -z "$$bad" ] || { echo "gofmt: $$bad"; exit 1; }
	clang-format-14 --dry-run --Werror bpf/*.h bpf/*.c

lint:
	$(GO) vet ./...

# Everything that needs neither a kernel to trace nor root.
unit:
	$(GO) test -count=1 $$($(GO) list ./... | grep -v -e '/cmd/finwait$$' -e '/cmd/finwait/cases$$' -e '/tracer/workload$$' -e '/report/html$$')

# The page of finwait report, in a headless Chromium, light and dark: it fails, not skips, without one.
browser:
	$(MAKE) --no-print-directory deps PACKAGES=chromium
	FINWAIT_REQUIRE_CHROMIUM=1 $(GO) test -count=1 ./output/report/html

# Tests that trace this kernel: as root, one package at a time, and they fail, not skip, without it.
kernel:
	$(SUDO) env "PATH=$$PATH" FINWAIT_REQUIRE_KERNEL=1 $(GO) test -count=1 -p 1 -timeout 15m ./tracer/workload ./cmd/finwait

fuzz:
	$(GO) test -run '^$$' -fuzz '^FuzzDecode$$' -fuzztime 20s ./tracer
	$(GO) test -run '^$$' -fuzz '^FuzzFlow$$' -fuzztime 20s ./tracer/flow
	$(GO) test -run '^$$' -fuzz '^FuzzReader$$' -fuzztime 20s ./output/jsonl

clean:
	rm -f finwait

# The tests on other kernels, emulated, from packages that it fetches into a cache of its own: a
# table of features and kernels. In virtual time, where a minute of TIME_WAIT takes no time; and what
# is about concurrency once more, by the host's clock and on all its CPUs. Debian 5.10, 6.1, 6.12,
# 6.18, the newest there is, and 6.12 on arm64. KERNELS=-h tells what else can be asked of it.
KERNELS ?= -timeout 10m -run '^Test(Feature|Owner|Socket|MapFull|RingArithmetic)' -real-run '^TestFeature(Storm|Interrupted)$$'

.PHONY: test-kernels
test-kernels:
	CGO_ENABLED=0 $(GO) run ./cmd/kernels test $(KERNELS)

# What kernel_lockdown(7) forbids, and how finwait says so: exit status 4, the reason, and what to do.
.PHONY: test-lockdown
test-lockdown: build
	@said=$$(CGO_ENABLED=0 $(GO) run ./cmd/kernels run -kernel 6.1 -append lockdown=confidentiality ./finwait -d 1s 2>&1); echo "$$said"; \
	grep -q 'kernel lockdown is in confidentiality mode' <<<"$$said" && grep -q 'exit status 4' <<<"$$said" || { echo 'that is not what it should say'; exit 1; }

# Kill -9 at a hundred moments of a recording; make test has twenty.
.PHONY: kills
kills:
	$(SUDO) env "PATH=$$PATH" FINWAIT_REQUIRE_KERNEL=1 FINWAIT_KILLS=$(or $(KILLS),100) $(GO) test -count=1 -timeout 30m -run '^TestRecordKilled$$' -v ./cmd/finwait

# What people really have, with the servers that they have it with; docs/cases is made of it. CASES=-update writes
# the pages anew.
CASES_PACKAGES := nginx haproxy tomcat10 apache2-utils curl jq iproute2 procps podman crun netavark iptables conntrack libbpf-tools net-tools

.PHONY: cases
cases:
	$(MAKE) --no-print-directory deps PACKAGES="$(CASES_PACKAGES)"
	$(SUDO) env "PATH=$$PATH" FINWAIT_REQUIRE_KERNEL=1 $(GO) test -count=1 -p 1 -timeout 10m ./cmd/finwait/cases $(CASES)

test: cases

# A recording under load for a long time: memory, descriptors and threads stay flat, and
# nothing is lost. By the clock, or until so many closes were made: make soak CLOSES=3600000
# is an hour of a thousand a second, as fast as this machine can.
DURATION ?= 10m
.PHONY: soak
soak:
	$(MAKE) --no-print-directory deps
	$(SUDO) env "PATH=$$PATH" FINWAIT_REQUIRE_KERNEL=1 FINWAIT_SOAK=$(if $(CLOSES),12h,$(DURATION)) FINWAIT_SOAK_CLOSES=$(CLOSES) \
		$(GO) test -count=1 -timeout 0 -v -run '^(TestSoak|TestGoroutines)$$' ./cmd/finwait

# setcap, for a test of finwait without root.
PACKAGES += libcap2-bin

# What tracing costs, finwait beside its peers, in the tables of docs/cost.md: six minutes, on a
# machine that has nothing else to do. BENCH=-h tells what else can be asked of it; the tables
# come into the page with BENCH='-page docs/cost.md'. bench-quick is the same in a minute, with
# whatever peers there are.
BENCH ?=

.PHONY: bench bench-quick
bench: build
	$(MAKE) --no-print-directory deps PACKAGES='libbpf-tools bpftrace'
	CGO_ENABLED=0 $(GO) build -trimpath -o finwait-bench ./cmd/bench
	$(SUDO) ./finwait-bench $(BENCH)

bench-quick: build
	CGO_ENABLED=0 $(GO) build -trimpath -o finwait-bench ./cmd/bench
	$(SUDO) ./finwait-bench -quick $(BENCH)
