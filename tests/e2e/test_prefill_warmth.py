#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What a long prompt leaves in the cache serves the reply: its first tokens hit
more than LRU would let them, and more than if the cache had seen nothing but
the prompt's last chunk.  And telling the expected time leaves no trace."""
import json
import os
import sys
import tempfile

import pst_e2e as e2e

MODEL = os.path.join(e2e.SRC, "share", "tiny-stories.gguf")
TEXT = os.path.join(e2e.SRC, "tests", "data", "stories", "held-out.txt")
CHUNK = 64
CACHE = "40%"
STARTS = (0, 3000, 6000)  # passages, in characters
LENGTH = 1600


def good(p):
    if p.returncode:
        raise RuntimeError(p.stderr.decode(errors="replace"))
    return p.stdout


def record(folder, text):
    """A run: (path of its trace, hits of its first eight tokens, prompt)."""
    trace = os.path.join(folder, "t.csv")
    report = os.path.join(folder, "r.json")
    good(e2e.run("trace", "record", MODEL, text, "-o", trace, "--raw",
                 "--temp", 0, "-n", 9, "-b", CHUNK, "--ctx-size", 1024,
                 "--expert-cache", CACHE, "--prefetch", "off",
                 "--report=json", "--report-file", report))
    with open(report, encoding="utf-8") as f:
        r = json.load(f)
    assert r["decode"]["tokens"] == 8
    return trace, r["decode"]["hits"], r["prefill"]["tokens"]


def last_chunk(trace, nr_prompt):
    """The same trace as if the prompt had been its last whole chunk only."""
    first = nr_prompt // CHUNK * CHUNK - CHUNK
    out = trace + ".last"
    with open(trace, encoding="utf-8") as f, \
            open(out, "w", encoding="utf-8") as g:
        for line in f:
            if not line.startswith("prefill,") or \
                    int(line.split(",")[1]) >= first:
                g.write(line)
    return out


def replay(trace, policy):
    out = json.loads(good(e2e.run("trace", "replay", trace, "--expert-cache",
                                  CACHE, "--cache-policy", policy, "-o",
                                  "json")))
    return out["results"][0]["hits"]


def check_warmth(tap, folder, text):
    run = lru = last = 0
    for start in STARTS:
        trace, hits, nr_prompt = record(folder, text[start:start + LENGTH])
        run += hits
        lru += replay(trace, "lru")
        last += replay(last_chunk(trace, nr_prompt), "default")
    why = f"{run} hits, LRU {lru}, last chunk only {last}"
    print("# " + why)
    tap.check(run > 1.2 * lru, "the reply begins warmer than LRU leaves it",
              why)
    tap.check(run > last,
              "the reply begins warmer than the last chunk alone leaves it",
              why)


def check_estimate(tap, text):
    args = ("run", MODEL, text[:LENGTH], "--raw", "--temp", 0, "-n", 16,
            "--ctx-size", 1024, "--expert-cache", CACHE)
    silent = e2e.run(*args, "--progress", "never")
    told = e2e.run(*args, "--progress", "json")
    lines = [json.loads(x) for x in told.stderr.decode().splitlines()
             if x.startswith('{"schema":"penstock.estimate.1"')]
    tap.check(len(lines) == 1 and lines[0]["compute_s"] > 0.0,
              "the expected time is told", told.stderr.decode()[:300])
    tap.check(good(silent) == good(told) and silent.stdout,
              "the expected time changes no reply")


def main():
    tap = e2e.Tap()
    with open(TEXT, encoding="utf-8") as f:
        text = f.read()
    with tempfile.TemporaryDirectory() as folder:
        check_warmth(tap, folder, text)
    check_estimate(tap, text)
    return tap.done()


if __name__ == "__main__":
    sys.exit(main())
