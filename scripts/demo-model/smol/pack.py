# SPDX-License-Identifier: MIT
"""What distill.py has learned, packed for scripts/make-demo-model: what is added
to the matrices as int8 with a scale for each rank, routers as float16.

	pack.py DENSE.gguf LEARNED.npz OUT.npz
"""
import argparse
import os
import sys

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, '..', '..'))
import gguf_io as gguf  # noqa: E402

ADDED = 'qkv', 'o', 'gate', 'up', 'down'


def int8(w, axis):
    """(q, scale) of [layer][..][..]; one scale along `axis`."""
    scale = np.abs(w).max(axis, keepdims=True) / 127 + 1e-20
    return np.rint(w / scale).astype(np.int8), scale.astype(np.float32)


def even(a, b):
    """The same product with ranks by falling size and a's rows as long as b's
    columns, so that both lose as little by rounding."""
    qa, ra = np.linalg.qr(a.transpose(0, 2, 1))
    qb, rb = np.linalg.qr(b)
    u, s, vt = np.linalg.svd(rb @ ra.transpose(0, 2, 1))
    s = np.sqrt(s)
    return ((qa @ vt.transpose(0, 2, 1) * s[:, None]).transpose(0, 2, 1),
            qb @ u * s[:, None])


def norms(dense, factors):
    """{name: weights}: the dense model's times what was learned."""
    by_name = {t.name: t for t in dense.tensors}

    def get(name):
        return np.frombuffer(dense.data(by_name[name + '.weight']), np.float32)

    out = {'out_norm': get('output_norm') * factors['out_norm']}
    for name in ('attn_norm', 'ffn_norm'):
        out[name] = np.stack([get(f'blk.{i}.{name}') * f
                              for i, f in enumerate(factors[name])])
    return {k: w.astype(np.float32) for k, w in out.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    parser.add_argument('dense')
    parser.add_argument('learned')
    parser.add_argument('out')
    args = parser.parse_args()

    learned = np.load(args.learned)
    out = {
        'name': np.array('SmolLM2 135M Instruct, cut into experts'),
        'geometry': learned['geometry'],
        'order': learned['order'].astype(np.int16),
        'scale': learned['scale'].astype(np.float32),
        'router': learned['router'].astype(np.float16),
        **norms(gguf.Reader(args.dense), learned),
    }
    for k in ADDED:
        for f, w, axis in zip('ab', even(learned[k + '_a'],
                                         learned[k + '_b']), (2, 1)):
            name = f'{k}_{f}'
            out[name], out[name + '_scale'] = int8(w, axis)
    np.savez_compressed(args.out, **out)
    print(f'{args.out}: {os.path.getsize(args.out)} bytes')


if __name__ == '__main__':
    main()
