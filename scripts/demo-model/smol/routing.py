#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""How a recorded trace uses its experts, means over the layers: reuse from one
token to the next, skew, margins.

	routing.py TRACE.csv.xz...
"""
import lzma
import math
import os
import string
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                '..', '..'))
from gguf_io import np  # noqa: E402

DIGITS = {c: i for i, c in enumerate(
    string.ascii_uppercase + string.ascii_lowercase + string.digits + '+/')}


def read(path):
    """(head's numbers, {layer: {token: set of experts}}, probabilities of all
    experts, one row for each token and layer)"""
    head, taken, probs = {}, {}, []
    with lzma.open(path, 'rt') as f:
        for line in f:
            if line.startswith('#p,'):
                code = [DIGITS[c] for c in line[3:].strip()]
                probs.append([2 ** (-(a * 64 + b) / 64)
                              for a, b in zip(code[::2], code[1::2])])
            elif line.startswith('#'):
                for word in line.split():
                    key, _, value = word.partition('=')
                    if key in ('layers', 'experts', 'used'):
                        head[key] = int(value)
            elif not line.startswith('phase'):
                _, token, layer, _, expert, _ = line.split(',')
                taken.setdefault(int(layer), {}).setdefault(
                    int(token), set()).add(int(expert))
    return head, taken, np.array(probs)


def report(path):
    head, taken, probs = read(path)
    used, experts = head['used'], head['experts']
    reuse, busiest, entropy = [], [], []
    for tokens in taken.values():
        reuse.append(np.mean([len(tokens[t] & tokens[t - 1]) / used
                              for t in tokens if t - 1 in tokens]))
        count = np.zeros(experts)
        for chosen in tokens.values():
            count[list(chosen)] += 1
        share = np.sort(count / count.sum())[::-1]
        busiest.append(share[:experts // 4].sum())
        share = share[share > 0]
        entropy.append(-np.sum(share * np.log2(share)))
    ranked = np.sort(probs, 1)[:, ::-1]
    print(f'{os.path.basename(path)}: {len(probs) // len(taken)} tokens; '
          f'reused from the token before {np.mean(reuse):.1%} '
          f'(layers {min(reuse):.1%} to {max(reuse):.1%}), by chance '
          f'{used / experts:.1%}; busiest quarter of the experts takes '
          f'{np.mean(busiest):.1%}; entropy {np.mean(entropy):.2f} of '
          f'{math.log2(experts):.2f} bits; probability at rank 1, {used}, '
          f'{used + 1}, {experts}: ' + ', '.join(
              f'{ranked[:, r - 1].mean():.3f}'
              for r in (1, used, used + 1, experts)))


if __name__ == '__main__':
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    for name in sys.argv[1:]:
        report(name)
