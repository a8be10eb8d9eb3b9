#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Streaming does not change one bit: logits of MoE models are compared byte
for byte between a resident run and every other way of running them."""
import glob
import itertools
import json
import os
import random
import shutil
import tempfile

import pst_e2e as e2e

SEED = int(os.environ.get("PENSTOCK_SEED", "20261120"))
MODELS = ("llama-mixtral", "olmoe", "qwen3moe-split", "q-qwen3moe-Q4_K",
          "q-qwen3moe-Q8_0")
MLA = ("deepseek2", "deepseek32", "glm-dsa", "kimi-linear", "kimi-k3")
DECOMPRESSED = ("--mla", "decompressed")
Q16 = ("--activations", "q16")
POLICIES = ("default", "adaptive", "cycle", "lru", "lfu", "s3fifo")
ARCHS = ("deepseek2", "deepseek32", "deepseek4", "glm-dsa",
         "llama", "qwen3moe", "olmoe", "gpt-oss", "qwen2moe", "glm4moe",
         "minimax-m2", "minimax-m3", "granitemoe", "ernie4_5-moe", "hunyuan-moe", "dots1",
         "bailingmoe2", "llama4", "gemma4", "qwen3next",
         "qwen35moe", "kimi-linear", "kimi-k3")


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
        "--io-mode": ["irq", "sqpoll", "iopoll"],
        "--threads": ["1", "2", "3"],
        "--batch-size": ["1", "7", "512"],
        "--direct": ["on", "off"],
        "--queue-depth": ["1", "4", "64"],
        "--huge-pages": ["thp", "off"],
        "--cache-policy": POLICIES,
        "--prefetch": ["auto", "off", "next", "next2"],
        "--read-size": ["4096", "20480"],
        "--mirror": [case["copy"]],
        "--warm": ["on"],
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
    for cache, batch in itertools.product(axes["--expert-cache"],
                                          axes["--batch-size"]):
        yield ["--expert-cache", cache, "--io-mode", "sqpoll", "--batch-size",
               batch, "--io-fault",
               "seed=%d,shuffle=1,delay_us=100" % rng.randrange(1 << 30)]
    for policy, cache in itertools.product(POLICIES,
                                           axes["--expert-cache"]):
        yield ["--expert-cache", cache, "--cache-policy", policy]
    for ahead, cache in itertools.product(axes["--prefetch"],
                                          axes["--expert-cache"]):
        yield ["--expert-cache", cache, "--prefetch", ahead, "--batch-size",
               "1", "--io-fault",
               "seed=%d,shuffle=1,delay_us=200" % rng.randrange(1 << 30)]
    for _ in range(12):
        opts = []
        for name, values in axes.items():
            if rng.random() < 0.7:
                opts += [name, rng.choice(values)]
        if "mmap" in opts and "--io-fault" in opts:
            continue
        yield opts


def short_list(case, rng):
    """The corners only, for models beyond the project's own."""
    low = "%dexperts" % caches(case)[0]
    fault = "seed=%d,short=0.3,eagain=0.2,shuffle=1,delay_us=50" % (
        rng.randrange(1 << 30))
    yield ["--expert-cache", low, "--batch-size", "1"]
    yield ["--expert-cache", low, "--batch-size", "7", "--io", "pread",
           "--threads", "1"]
    yield ["--expert-cache", low, "--io-fault", fault]
    yield ["--expert-cache", low, "--io-mode", "sqpoll", "--io-fault", fault]
    yield ["--io", "mmap"]


def same_chunks(case, rng):
    """Where the bits depend on how a prompt is cut into chunks."""
    low = "%dexperts" % caches(case)[0]
    fault = "seed=%d,short=0.3,eagain=0.2,shuffle=1,delay_us=50" % (
        rng.randrange(1 << 30))
    yield ["--expert-cache", low]
    yield ["--expert-cache", low, "--io", "pread", "--threads", "1"]
    yield ["--expert-cache", low, "--threads", "3", "--io-fault", fault]
    yield ["--io", "mmap"]


def demo_model():
    """The demo's model, when `make demo` has made it."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    made = glob.glob(os.path.join(cache, "penstock",
                                  "smollm2-135m-instruct-moe-*.gguf"))
    return max(made, key=os.path.getmtime) if made else None


def compare_demo(tap, path):
    with tempfile.TemporaryDirectory() as tmp:
        tokens = os.path.join(tmp, "tokens.json")
        with open(tokens, "w") as f:
            json.dump([1, 4093, 198, 2, 198] * 9 + list(range(500, 520)), f)
        want = e2e.logits(path, tokens, "--resident")
        for opts in (["--expert-cache", "20experts"],
                     ["--expert-cache", "60experts", "--batch-size", "1",
                      "--threads", "1"],
                     ["--expert-cache", "50%", "--batch-size", "7", "--io",
                      "pread"],
                     ["--expert-cache", "100%", "--io-fault",
                      "seed=%d,shuffle=1,delay_us=50,short=0.1" % SEED],
                     ["--io", "mmap", "--ram", "160MiB"]):
            tap.check(e2e.logits(path, tokens, *opts) == want,
                      "demo model: " + " ".join(opts))


def compare(tap, name, folder, case, rng, variants=variants, same=()):
    """All @variants of a run, each with the options @same as well."""
    model = os.path.join(folder, case["files"][0])
    tokens = os.path.join(folder, "tokens.json")
    try:
        want = e2e.logits(model, tokens, "--resident", *same)
    except RuntimeError as err:
        # A weight type without a kernel is refused by name, elsewhere tested.
        if "not supported" in str(err):
            print("# %s left out: %s" % (name, err))
            return
        raise
    size = case["n_tokens"] * case["n_vocab"] * 4
    tap.check(len(want) == size, name + ": the resident run gives all logits")
    with tempfile.TemporaryDirectory() as tmp:
        for file in case["files"]:
            shutil.copy(os.path.join(folder, file), tmp)
        for opts in variants(dict(case, copy=tmp), rng):
            try:
                got, why = e2e.logits(model, tokens, *opts,
                                      *same), "the bytes differ"
            except RuntimeError as err:
                got, why = None, err
            tap.check(got == want,
                      "%s: %s" % (name, " ".join([*opts, *same])), why)


def main():
    print("# PENSTOCK_SEED=%d" % SEED)
    rng = random.Random(SEED)
    tap = e2e.Tap()
    for name, folder, case in e2e.cases(os.path.join(e2e.DATA, "logits")):
        if name in MODELS:
            compare(tap, name, folder, case, rng)
            if name.startswith("q-"):
                compare(tap, name, folder, case, rng, short_list, Q16)
    golden = os.path.join(e2e.GOLDEN, "logits")
    for name, folder, case in (e2e.cases(golden) if os.path.isdir(golden)
                               else ()):
        if case["arch"] in ARCHS and case.get("moe_layers"):
            compare(tap, "golden " + name, folder, case, rng, short_list)
            if name.startswith("q-"):
                compare(tap, "golden " + name, folder, case, rng, short_list,
                        Q16)
            if case["arch"] in MLA:
                compare(tap, "golden " + name, folder, case, rng, same_chunks,
                        DECOMPRESSED)
    demo = demo_model()
    if demo:
        compare_demo(tap, demo)
    else:
        print("# the demo model is not there: `make demo` makes it")
    tap.done()


if __name__ == "__main__":
    main()
