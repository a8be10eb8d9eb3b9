#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Texts through the vocabularies of the golden models: the recorded ids, with
and without what is put at the ends and special tokens in the text."""
import json
import os

import pst_e2e as e2e


def ids(model, text, special):
    options = [] if special else ["--no-special", "--no-bos"]
    p = e2e.run("tokenize", model, *options, input=text.encode())
    if p.returncode:
        raise RuntimeError(p.stderr.decode(errors="replace").strip())
    return json.loads(p.stdout)


def wrong(model, texts):
    """The first text that gives other ids, or None."""
    for t in texts:
        got = ids(model, t["text"], t["add_and_parse_special"])
        if got != t["ids"]:
            return "%r: %s, not %s" % (t["text"], got, t["ids"])
    return None


def main():
    where = os.path.join(e2e.GOLDEN, "logits")
    if not os.path.isdir(where):
        e2e.skip("no golden data at " + where)
    tap = e2e.Tap()
    for name, folder, case in e2e.cases(where):
        path = os.path.join(folder, "tokenize.json")
        if not os.path.exists(path):
            continue
        with open(path) as f:
            texts = json.load(f)
        try:
            why = wrong(os.path.join(folder, case["files"][0]), texts)
        except RuntimeError as e:
            why = e
        tap.check(not why, "%s: the recorded ids" % name, why)
    tap.done()


if __name__ == "__main__":
    main()
