#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Learn the tiny demo model's byte-level BPE and turn the corpus into token ids.

Writes tokenizer.json, train.u16 and held.u16 (little-endian ids) into the folder that
corpus.py filled. The pre-tokenizer is GPT-2's; the three control tokens come first.
"""

import json
import pathlib
import sys

import numpy as np
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

VOCAB = 3072
END, START_TURN, END_TURN = "<|endoftext|>", "<|im_start|>", "<|im_end|>"


def learn(folder):
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tok.train([str(folder / "plain.txt")], trainers.BpeTrainer(
        vocab_size=VOCAB, special_tokens=[END, START_TURN, END_TURN],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    tok.save(str(folder / "tokenizer.json"))
    return tok


def tokens_of(tok, pieces):
    """A piece with a question is a chat of one turn, one without is plain text."""
    special = {name: tok.token_to_id(name) for name in (END, START_TURN, END_TURN)}
    ids, asks = [], []
    for p in pieces:
        asks.append("user\n" + p["ask"] if p["ask"] else "")
    heads = tok.encode_batch(asks)
    texts = tok.encode_batch([p["text"] for p in pieces])
    line, reply = tok.encode("\n").ids, tok.encode("assistant\n").ids
    for head, text in zip(heads, texts):
        if head.ids:
            ids += [special[START_TURN], *head.ids, special[END_TURN], *line,
                    special[START_TURN], *reply, *text.ids, special[END_TURN]]
        else:
            ids += [special[END], *text.ids]
    return np.array(ids, dtype="<u2")


def main():
    folder = pathlib.Path(sys.argv[1])
    tok = learn(folder)
    for name in ("train", "held"):
        with open(folder / f"{name}.jsonl") as f:
            pieces = [json.loads(line) for line in f]
        ids = tokens_of(tok, pieces)
        ids.tofile(folder / f"{name}.u16")
        nbytes = sum(len(p["text"]) for p in pieces)
        print(f"{name}: {len(pieces)} pieces, {nbytes} bytes of story, {len(ids)} tokens")


if __name__ == "__main__":
    main()
