# SPDX-License-Identifier: MIT
"""The text to learn from, as token ids in pieces of LENGTH, and the text to
measure on, which is learned from nowhere.

	pieces.py DENSE.gguf OWN.npz BOOKS_DIR OUT.npz [--held-out DIR]
		[--stories STORIES.jsonl] [--more OWN.npz...] [--choose-by OWN.npz]

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

import shape
import tokens

LENGTH = 320
# The Adventures of Sherlock Holmes, The Problems of Philosophy, The Secret
# Garden, American Adventures, The Time Machine; held out: The Little Colonel's
# Hero; to choose by: News from Nowhere.
BOOKS, HELD_OUT_BOOK = ('1661', '5827', '113', '18304', '35'), '15122'
TO_CHOOSE_BY, CHOOSING = '3261', 12
CODE = ('argparse', 'heapq', 'textwrap', 'statistics', 'fractions', 'csv',
        'json/decoder', 'calendar', 'inspect', 'ast', 'shutil', 'zipfile',
        'tarfile', 'logging/__init__', 'unittest/mock', 'typing', 'threading',
        'subprocess', 'difflib', 'random', 'datetime', 'email/message',
        'http/client', 'configparser', 'optparse', 'pickle', 'turtle')
# Pieces of a book and of a file of code: for the cut, and to train on.
TO_CUT, TO_TRAIN = (60, 8), (1000, 60)
HELD_OUT_OWN, HELD_OUT_BYTES = 24, 32000
STORIES, STORY_SEED = 9100, 5


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
    ids = tokens.tokenize(model, '\n\n'.join(texts[:STORIES]))
    return pieces(ids, STORIES)


def middle(path):
    """Of a book: whole paragraphs."""
    text = book(path)
    text = text[len(text) // 2:][:HELD_OUT_BYTES]
    return text[text.index('\n\n') + 2:text.rindex('\n\n') + 1]


def chats(model, own, path):
    """The answers held out as text, for `penstock perplexity`."""
    text = '\n'.join(tokens.detokenize(model, ids) for ids in own)
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
    parser.add_argument('--choose-by', metavar='OWN',
                        help='own text that the training is watched with')
    args = parser.parse_args()

    own = np.load(args.own)['ids']
    of_book, of_code = TO_TRAIN if args.stories else TO_CUT
    parts = {'own': np.concatenate(
        [own[:-HELD_OUT_OWN], *(np.load(path)['ids'] for path in args.more)])}
    parts['book'] = np.concatenate([
        pieces(tokens.tokenize(args.dense, book(os.path.join(
            args.books, b + '.txt'))), of_book) for b in BOOKS])
    lib = sysconfig.get_path('stdlib')
    code = []
    for name in CODE:
        with open(os.path.join(lib, name + '.py'), encoding='utf-8') as f:
            code.append(pieces(tokens.tokenize(args.dense, f.read()), of_code))
    parts['code'] = np.concatenate(code)
    if args.stories:
        parts['stories'] = stories(args.dense, args.stories)
    if args.choose_by:
        parts['held own'] = np.load(args.choose_by)['ids'][:CHOOSING]
        parts['held book'] = pieces(tokens.tokenize(args.dense, middle(
            os.path.join(args.books, TO_CHOOSE_BY + '.txt'))), CHOOSING)
    held = middle(os.path.join(args.books, HELD_OUT_BOOK + '.txt'))
    parts['held_out_book'] = pieces(tokens.tokenize(args.dense, held), 24)
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
