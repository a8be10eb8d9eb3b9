# SPDX-License-Identifier: MIT
"""Numbers of SmolLM2-135M-Instruct and of the cut models made from it.

$FORM is the form of the cut: "once", which is shipped, or "twice".
"""
import collections
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, '..', '..'))

import gguf_io as gguf  # noqa: E402
from gguf_io import np  # noqa: E402

L, N, FF, HEADS, KV, HD, EPS, BASE = 30, 576, 1536, 9, 3, 64, 1e-5, 1e5
EOT, IM_START, IM_END = 0, 1, 2

# Neurons that are not in the shared expert are cut into experts once for each
# group; a token takes experts of one group only, so that a neuron that two groups
# have is never counted twice.
Form = collections.namedtuple('Form', 'width groups used shared sequences')
FORMS = {'twice': Form(32, 2, 18, 640, 30), 'once': Form(16, 1, 19, 608, 36)}
WIDTH, GROUPS, USED, SHARED, SEQUENCES = FORMS[os.environ.get('FORM', 'once')]
OF_GROUP = (FF - SHARED) // WIDTH
EXPERTS = GROUPS * OF_GROUP
SLOTS = SHARED + EXPERTS * WIDTH


def neox_rows(heads):
    """Rows of q or k so that the halves of a head rotate, not neighbours."""
    one = np.concatenate([np.arange(0, HD, 2), np.arange(1, HD, 2)])
    return (np.arange(heads)[:, None] * HD + one).reshape(-1)


def weights(path):
    """A function that gives a tensor of the GGUF by its name as [out][in]."""
    r = gguf.Reader(path)
    by_name = {t.name: t for t in r.tensors}

    def get(name):
        t = by_name[name + '.weight']
        return gguf.dequantise(r.data(t), t.type).reshape(t.dims[::-1])
    return get
