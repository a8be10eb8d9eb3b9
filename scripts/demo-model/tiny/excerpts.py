#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What the tests need of the corpus: held-out text and the words of the stories.

	excerpts.py WORK FOLDER

Writes FOLDER/held-out.txt, some pieces of each held-out book, and FOLDER/words.txt.xz,
the most frequent words of the training text.
"""

import json
import lzma
import pathlib
import re
import sys
from collections import Counter

PIECES = slice(10, 14)
WORDS = 10000


def pieces(path):
    with open(path) as f:
        for line in f:
            yield json.loads(line)


def main():
    work, folder = map(pathlib.Path, sys.argv[1:])
    folder.mkdir(parents=True, exist_ok=True)
    books = {}
    for p in pieces(work / "held.jsonl"):
        books.setdefault(p["book"], []).append(p["text"])
    text = "\n".join(t for told in books.values() for t in told[PIECES]) + "\n"
    (folder / "held-out.txt").write_text(text)
    count = Counter(w for p in pieces(work / "train.jsonl")
                    for w in re.findall("[a-z']+", p["text"].lower()))
    words = sorted(w.strip("'") for w, _ in count.most_common(WORDS))
    (folder / "words.txt.xz").write_bytes(
        lzma.compress("\n".join(words).encode(), preset=9))
    print(f"{len(text)} bytes of text, {len(words)} words")


if __name__ == "__main__":
    main()
