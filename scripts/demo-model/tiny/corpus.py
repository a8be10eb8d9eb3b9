#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Make the training text of the tiny demo model from clones of GITenberg books.

Reads books.txt beside this file and bare or plain git clones, DIR/GITenberg+NAME (or
DIR/NAME), and writes three files into the output folder: train.jsonl, held.jsonl (one
object per piece of a story: {"ask": ..., "text": ...}) and plain.txt for the tokenizer.
Knows Project Gutenberg's habits of layout; knows nothing of tokens.
"""

import argparse
import json
import pathlib
import random
import re
import subprocess
import unicodedata
from collections import Counter

HERE = pathlib.Path(__file__).resolve().parent
SEED = 7
PIECE_CHARS = (700, 1500)

SKIP = re.compile(
    r"gutenberg|transcri|illustration|produced by|proofread|copyright|published|"
    r"publisher|http|www\.|e-?text|html|contents|all rights|author of|edition|"
    r"printed|volume|footnote|isbn|\[\d+\]|\.\.\.\.\.|project", re.I)
HEADING = re.compile(r"^(chapter|story|book|part|section)\b[^.!?]{0,80}[.]?$", re.I)
QUOTES = str.maketrans({
    "\u201c": '"', "\u201d": '"', "\u2018": "'", "\u2019": "'", "\u2014": "--",
    "\u2013": "-", "\u2026": "...", "\u00e6": "ae", "\u0153": "oe", "_": None,
    "\u00a0": " ", "=": None, "~": None, "*": None, "#": None, "+": None,
    "\u201e": '"', "|": None})


def git_dir(clones, name):
    for base in (clones / f"GITenberg+{name}" / "repo", clones / f"GITenberg+{name}",
                 clones / name):
        for path in (base / ".git", base):
            if (path / "HEAD").exists():
                return path
    return None


def book_text(clones, name):
    """The book's plain text, from the best of the encodings that it comes in."""
    number = name.rsplit("_", 1)[1]
    repo = git_dir(clones, name)
    if repo is None:
        raise SystemExit(f"{name}: no clone under {clones}")
    for path, encoding in ((f"{number}-0.txt", "utf-8-sig"), (f"{number}-8.txt", "latin-1"),
                           (f"{number}.txt", "utf-8-sig"), (f"{number}.txt", "latin-1")):
        got = subprocess.run(["git", f"--git-dir={repo}", "show", f"HEAD:{path}"],
                             capture_output=True)
        if got.returncode:
            continue
        try:
            return got.stdout.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise SystemExit(f"{name}: no text in the clone")


def body(text):
    """What lies between the marks that Project Gutenberg puts around a book."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    start = [m.end() for m in re.finditer(
        r"\*\*\* ?START OF.*|\*END[ *]*THE SMALL PRINT.*", text)]
    # Some editions have the small print at the end.
    text = text[max([at for at in start if at < len(text) // 4], default=0):]
    end = re.search(r"\*\*\* ?END OF|\n *End of (the |this )?Project Gutenberg", text, re.I)
    return text[:end.start()] if end else text


def is_verse(lines):
    if len(lines) < 2:
        return False
    short = sum(len(line.strip()) < 52 for line in lines[:-1])
    capital = sum(bool(re.match(r"\s*[\"'(]?[A-Z]", line)) for line in lines)
    indent = sum(line.startswith("  ") for line in lines)
    return short > 0.8 * (len(lines) - 1) and (capital == len(lines) or indent == len(lines))


def stories(text):
    """The book as lists of paragraphs; a heading ends a list."""
    out, now = [], []
    for block in re.split(r"\n\s*\n", body(text)):
        lines = [line for line in block.split("\n") if line.strip()]
        para = " ".join(" ".join(lines).split()).translate(QUOTES)
        para = unicodedata.normalize("NFKD", para).encode("ascii", "ignore").decode()
        para = re.sub(r"-{3,}", "--", re.sub(r"\s+", " ", para)).strip()
        if not para or SKIP.search(para) or is_verse(lines):
            continue
        if HEADING.match(para) or (len(para) < 100 and not re.search("[a-z]", para)):
            if now:
                out.append(now)
            now = []
            continue
        if para[-1] not in ".!?\"':;,)-" or (not now and len(para) < 60):
            continue
        # An opening in capitals ("ONCE upon a time") is a habit of print.
        para = re.sub(r"^([\"']?)([A-Z])([A-Z]+)((?: [A-Z]+)*)\b",
                      lambda m: m[1] + m[2] + m[3].lower() + m[4].lower(), para) \
            if re.match(r"[\"']?[A-Z]{2,}\b", para) else para
        # So are words in capitals for stress.
        now.append(re.sub(r"\b[A-Z]{3,}\b", lambda m: m[0].lower(), para))
    return out + ([now] if now else [])


def pieces(paras, rng):
    """A story cut at paragraphs into pieces that fit the model's context."""
    now, size, want = [], 0, rng.randint(*PIECE_CHARS)
    for para in paras:
        if now and size + len(para) > want:
            yield now
            now, size, want = [], 0, rng.randint(*PIECE_CHARS)
        if len(para) < 1700:
            now.append(para)
            size += len(para)
    if size > 200:
        yield now


# What stands at the end of a noun phrase.
THING = re.compile(
    r"\b(?:a|an|the|his|her|my|their)(?: [a-z]{3,9})? ([a-z]{3,11})(?=[.,;:!?\"]| (?:and|was|"
    r"were|had|is|of|in|on|at|to|with|that|who|which|came|said|went|for|from|as|but|or|would|"
    r"could|began|into|when|where|did|so|he|she|they|there)\b)")


def things(text, seldom):
    """Words of the text that look like things or beings, the most telling first."""
    count = Counter(THING.findall(text))
    whole = Counter(re.findall(r"[a-z]{3,11}", text))
    scored = [(whole[w] * seldom(w), w) for w in count if seldom(w) > 0]
    return [w for _, w in sorted(scored, reverse=True)]


def article(word):
    if word.endswith("s") and not word.endswith("ss"):
        return word
    return ("an " if word[0] in "aeiou" else "a ") + word


def ask(text, seldom, rng):
    words = things(text, seldom)[:5]
    names = [n for n, c in Counter(re.findall(r"(?<=[a-z,] )[A-Z][a-z]{2,10}\b", text))
             .most_common(3) if c > 1 and n.lower() not in STOP]
    rng.shuffle(words)
    chosen = names[:rng.randint(0, 2)] + [article(w) for w in words[:rng.randint(1, 3)]]
    if not chosen:
        return None
    listed = ", ".join(chosen[:-1]) + " and " + chosen[-1] if len(chosen) > 1 else chosen[0]
    return rng.choice(ASKS).format(listed)


ASKS = ("Tell me a story about {}.",) * 5 + (
    "Please tell me a story about {}.", "Write a story about {}.",
    "Can you tell me a story about {}?", "Tell me about {}.", "A story about {}, please.")
STOP = set("the and but mrs mister miss dear well then there that this what when you "
           "yes now oh not his her she they one all how why who for with".split())
NOT_THINGS = set(
    "little same other first last next old great good own whole very most more best same "
    "big poor young long way end one two three day days time moment minute hour morning "
    "evening night week year years few only large small short high right left many much "
    "such better second third new dear least while matter rest sort kind lot part place "
    "thing things side hand hands head face eyes eye heart mind life name voice word words "
    "people others half middle top back front sight use help ground air bit deal fellow "
    "full white black red green blue beautiful pretty nice strange wonderful fine happy "
    "door world idea reason trouble truth answer question chance care sure turn corner "
    "foot feet mouth arm arms nose body hair leg legs was were had has did sudden certain "
    "loud soft deep dark bright cold warm hot hard present past future number pair piece "
    "merry lovely tiny thick thin wide tall fat true real wise clever kind brave".split())


def main():
    arg = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arg.add_argument("clones", type=pathlib.Path)
    arg.add_argument("out", type=pathlib.Path)
    opt = arg.parse_args()
    rng = random.Random(SEED)
    opt.out.mkdir(parents=True, exist_ok=True)
    books, seen = [], set()
    for line in (HERE / "books.txt").read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        name, _, mark = line.partition("\t")
        told = []
        for story in stories(book_text(opt.clones, name)):
            fresh = [p for p in story if len(p) < 200 or p not in seen]
            seen.update(fresh)
            told += [fresh] if sum(map(len, fresh)) > 400 else []
        books.append((name, bool(mark), told))
        print(f"{name}: {len(told)} stories, {sum(len(p) for s in told for p in s)} bytes")
    all_text = [" ".join(s) for _, _, told in books for s in told]
    spread = Counter(w for t in all_text for w in set(re.findall(r"[a-z]{3,11}", t)))

    def seldom(word):
        n = spread[word]
        if word in NOT_THINGS or n < 12 or n > 0.35 * len(all_text):
            return 0.0
        return (len(all_text) / n) ** 0.35

    files = {h: open(opt.out / f"{n}.jsonl", "w") for h, n in ((False, "train"), (True, "held"))}
    plain = open(opt.out / "plain.txt", "w")
    total = Counter()
    for name, held, told in books:
        for story in told:
            for i, piece in enumerate(pieces(story, rng)):
                text = "\n".join(piece)
                question = ask(text, seldom, rng) if i == 0 or rng.random() < 0.5 else None
                json.dump({"book": name, "ask": question, "text": text}, files[held])
                files[held].write("\n")
                total[held] += len(text)
                if not held:
                    plain.write((question + "\n" if question else "") + text + "\n")
    print(f"train {total[False]} bytes, held out {total[True]} bytes")


if __name__ == "__main__":
    main()
