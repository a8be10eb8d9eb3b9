# SPDX-License-Identifier: MIT
"""The text to learn from, as token ids in pieces of LENGTH, and the text to
measure on, which is learned from nowhere.

	pieces.py DENSE.gguf OWN.npz BOOKS_DIR OUT.npz [--held-out DIR]
		[--stories STORIES.jsonl] [--more OWN.npz...]

BOOKS_DIR holds NUMBER.txt as Project Gutenberg and the repositories of
GITenberg have them; licences at head and tail are cut off, lines joined to
paragraphs.  STORIES.jsonl is the training text of the tiny model (../tiny), of
children's books.  Code is the standard library of the Python that runs this.
"""
import argparse
import json
import os
import random
import re
import sysconfig

import numpy as np

import lm
import shape

LENGTH = 320
# The Adventures of Sherlock Holmes, The Problems of Philosophy, The Secret
# Garden, American Adventures, The Time Machine; held out: The Little Colonel's
# Hero.
BOOKS, HELD_OUT_BOOK = ('1661', '5827', '113', '18304', '35'), '15122'
CODE = ('argparse', 'heapq', 'textwrap', 'statistics', 'fractions', 'csv',
        'json/decoder', 'calendar')
# Pieces of a book and of a file of code: for the cut, and to train on.
TO_CUT, TO_TRAIN = (60, 8), (180, 16)
HELD_OUT_OWN, HELD_OUT_BYTES = 24, 32000
STORIES, STORY_SEED = 1600, 5


def book(path):
    with open(path, encoding='latin-1') as f:
        text = f.read().replace('\r', '')
    text = re.split(r'\*\*\* ?START OF.*?\*\*\*|\*END\*?THE SMALL PRINT.*\n',
                    text)[-1]
    text = re.split(r'\*\*\* ?END OF|End of the? ?Project Gutenberg', text)[0]
    paragraphs = re.split(r'\n\s*\n', text)
    # What comes first is title page and contents.
    paragraphs = [re.sub(r'\s*\n\s*', ' ', p.strip()) for p in paragraphs]
    return '\n\n'.join(p for p in paragraphs[60:] if p)


def pieces(ids, most):
    n = min(len(ids) // LENGTH, most)
    # Spread over the whole text.
    at = np.linspace(0, len(ids) - LENGTH, n).astype(int)
    return np.stack([ids[a:a + LENGTH] for a in at])


def stories(model, path):
    with open(path, encoding='utf-8') as f:
        texts = [json.loads(line)['text'] for line in f]
    random.seed(STORY_SEED)
    random.shuffle(texts)
    ids = lm.tokenize(model, '\n\n'.join(texts[:STORIES]))
    return pieces(ids, STORIES)


def chats(model, own, path):
    """The answers held out as text, for `penstock perplexity`."""
    text = '\n'.join(lm.detokenize(model, ids) for ids in own)
    with open(path, 'w', encoding='utf-8') as f:
        f.write(text)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    parser.add_argument('dense')
    parser.add_argument('own')
    parser.add_argument('books')
    parser.add_argument('out')
    parser.add_argument('--held-out', metavar='DIR')
    parser.add_argument('--stories', metavar='STORIES')
    parser.add_argument('--more', metavar='OWN', nargs='*', default=[],
                        help='more text of the model; none is held out')
    args = parser.parse_args()

    own = np.load(args.own)['ids']
    of_book, of_code = TO_TRAIN if args.stories else TO_CUT
    parts = {'own': np.concatenate(
        [own[:-HELD_OUT_OWN], *(np.load(path)['ids'] for path in args.more)])}
    parts['book'] = np.concatenate([
        pieces(lm.tokenize(args.dense, book(os.path.join(
            args.books, b + '.txt'))), of_book) for b in BOOKS])
    lib = sysconfig.get_path('stdlib')
    code = []
    for name in CODE:
        with open(os.path.join(lib, name + '.py'), encoding='utf-8') as f:
            code.append(pieces(lm.tokenize(args.dense, f.read()), of_code))
    parts['code'] = np.concatenate(code)
    if args.stories:
        parts['stories'] = stories(args.dense, args.stories)
    held = book(os.path.join(args.books, HELD_OUT_BOOK + '.txt'))
    held = held[len(held) // 2:][:HELD_OUT_BYTES]
    held = held[held.index('\n\n') + 2:held.rindex('\n\n') + 1]
    parts['held_out_book'] = pieces(lm.tokenize(args.dense, held), 24)
    parts['held_out_own'] = own[-HELD_OUT_OWN:]
    if args.held_out:
        with open(os.path.join(args.held_out, 'prose.txt'), 'w',
                  encoding='utf-8') as f:
            f.write(held)
        chats(args.dense, own[-HELD_OUT_OWN:],
              os.path.join(args.held_out, 'own.txt'))
    np.savez_compressed(args.out, **parts)
    print({k: v.shape for k, v in parts.items()})


if __name__ == '__main__':
    main()
