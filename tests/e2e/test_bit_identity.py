#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Streaming does not change one bit: logits of MoE models are compared byte
for byte between a resident run and every other way of running them."""
import itertools
import os
import random

import pst_e2e as e2e

SEED = int(os.environ.get("PENSTOCK_SEED", "20261120"))
MODELS = ("llama-mixtral", "olmoe", "qwen3moe-split", "q-qwen3moe-Q4_K",
          "q-qwen3moe-Q8_0", "q-qwen3moe-Q6_K")


def caches(case):
    """From the smallest allowed to all experts."""
    hp, arch = case["hyperparameters"], case["arch"]
    used = hp[arch + ".expert_used_count"]
    every = hp[arch + ".expert_count"] * hp[arch + ".block_count"]
    return sorted({used, used + 1, (used + every) // 2, every})


def variants(case, rng):
    """Every axis alone, then seeded random combinations of all axes."""
    axes = {
        "--expert-cache": ["%dexperts" % n for n in caches(case)],
        "--io": ["uring", "pread", "mmap"],
        "--threads": ["1", "2", "3"],
        "--batch-size": ["1", "7", "512"],
        "--direct": ["on", "off"],
        "--queue-depth": ["1", "4", "64"],
        "--huge-pages": ["thp", "off"],
        "--io-fault": ["seed=%d,shuffle=1" % rng.randrange(1 << 30),
                       "seed=%d,delay_us=300" % rng.randrange(1 << 30),
                       "seed=%d,short=0.3,eagain=0.2,shuffle=1,delay_us=100"
                       % rng.randrange(1 << 30)],
    }
    for name, values in axes.items():
        for value in values:
            yield [name, value]
    for cache, io, batch in itertools.product(axes["--expert-cache"],
                                              ["uring", "pread"],
                                              axes["--batch-size"]):
        yield ["--expert-cache", cache, "--io", io, "--batch-size", batch]
    for _ in range(12):
        opts = []
        for name, values in axes.items():
            if rng.random() < 0.7:
                opts += [name, rng.choice(values)]
        if "mmap" in opts and "--io-fault" in opts:
            continue
        yield opts


def compare(tap, name, folder, case, rng):
    model = os.path.join(folder, case["files"][0])
    tokens = os.path.join(folder, "tokens.json")
    want = e2e.logits(model, tokens, "--resident")
    size = case["n_tokens"] * case["n_vocab"] * 4
    tap.check(len(want) == size, name + ": the resident run gives all logits")
    for opts in variants(case, rng):
        try:
            got, why = e2e.logits(model, tokens, *opts), "the bytes differ"
        except RuntimeError as err:
            got, why = None, err
        tap.check(got == want, "%s: %s" % (name, " ".join(opts)), why)


def main():
    print("# PENSTOCK_SEED=%d" % SEED)
    rng = random.Random(SEED)
    tap = e2e.Tap()
    for name, folder, case in e2e.cases(os.path.join(e2e.DATA, "logits")):
        if name in MODELS:
            compare(tap, name, folder, case, rng)
    tap.done()


if __name__ == "__main__":
    main()
