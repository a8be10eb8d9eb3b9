# SPDX-License-Identifier: MIT
# The front door.  Every target is one command; the work is in scripts/ and in
# meson.build.

BUILD ?= build
JOBS ?= $(shell nproc)
PREFIX ?= /usr/local
export JOBS

.PHONY: all help setup demo check check-asan check-asan-kernels check-ubsan
.PHONY: check-tsan check-valgrind check-arm fuzz bench lint install clean
.PHONY: kmod kmod-check check-kmod check-kmod-debug

all: ## build build/penstock
	@TARGETS=userspace/cli/penstock scripts/compile $(BUILD)

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{ printf "  make %-18s %s\n", $$1, $$2 }' \
		Makefile

setup: ## install the packages that penstock needs (Debian)
	@scripts/setup build dev

demo: all ## a small real model, run in less memory than it needs
	@scripts/demo $(BUILD)

check: ## build and run all tests; ends with the counts
	@scripts/check $(BUILD)

check-asan: ## the tests under AddressSanitizer and UBSan
	@scripts/check build-asan address

check-asan-kernels: ## kcheck under AddressSanitizer; compiles for long
	@TARGETS=tests/kernels/kcheck SANITIZE_KERNELS=1 \
		scripts/check build-asan-kernels address kcheck

check-ubsan: ## the same without AddressSanitizer, the kernels, too
	@scripts/check build-ubsan undefined

check-tsan: ## the tests under ThreadSanitizer
	@scripts/check build-tsan thread

check-valgrind: ## the tests under valgrind memcheck
	@scripts/check build-valgrind valgrind

check-arm: ## the kernels on an emulated 64-bit ARM processor
	@scripts/setup arm
	@scripts/check-arm build-arm

# The program against MUTANTS damaged files of each kind, then the parsers alone.
fuzz: MUTANTS ?= 1000
fuzz: ## damaged models and traces, under the sanitizers
	@TARGETS=userspace/cli/penstock scripts/check build-asan address \
		mutants --verbose --timeout-multiplier 0 \
		--test-args "$(MUTANTS)"
	@scripts/fuzz

bench: all ## streaming in memory cgroups, beside other engines (root)
	@scripts/bench-streaming

lint: ## style, include graph, sizes, shell scripts
	@scripts/lint

kmod: ## build the kernel module, build-kmod/module/penstock.ko
	@scripts/kmod-build

kmod-check: ## the module: W=1, sparse, checkpatch, coccicheck
	@scripts/kmod-check

check-kmod: ## the module's tests, in emulated machines
	@scripts/kmod-test

check-kmod-debug: ## the same on a kernel that looks for bugs; then mutants
	@scripts/kmod-test --debug
	@scripts/kmod-mutants

install: all ## install under PREFIX (/usr/local)
	@meson configure $(BUILD) -Dprefix=$(PREFIX)
	@meson install -C $(BUILD)

clean: ## remove the build directories
	rm -rf build build-*
