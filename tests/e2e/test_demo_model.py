#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A dense model and the Mixture-of-Experts model that make-demo-model cuts it
into compute the same function: their logits differ by rounding only."""
import os
import subprocess
import sys
import tempfile
import unittest

SRC = os.environ.get('PENSTOCK_SRC') or os.path.dirname(os.path.dirname(
    os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get('PENSTOCK_BUILD') or os.path.join(SRC, 'build')
PROGRAM = os.path.join(BUILD, 'userspace', 'cli', 'penstock')
CASE = os.path.join(SRC, 'tests', 'data', 'logits', 'llama')
MAX_NMSE = 1e-9

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(SRC, 'scripts'))
try:
    from gguf_io import np
except SystemExit as e:
    print(e)
    sys.exit(77)


def checked(*command):
    done = subprocess.run(command, text=True, capture_output=True, check=False)
    if done.returncode:
        raise AssertionError(f'{command}: {done.returncode}\n{done.stdout}'
                             f'{done.stderr}')


def logits(model, out):
    checked(PROGRAM, 'logits', model, '--tokens-file',
            os.path.join(CASE, 'tokens.json'), '--out', out)
    return np.fromfile(out, np.float32).astype(np.float64)


class DemoModelLogits(unittest.TestCase):
    def test_the_experts_together_are_the_dense_ffn(self):
        dense = os.path.join(CASE, 'model.gguf')
        with tempfile.TemporaryDirectory() as tmp:
            out, moe = os.path.join(tmp, 'out'), os.path.join(tmp, 'moe.gguf')
            checked(os.path.join(SRC, 'scripts', 'make-demo-model'), dense,
                    moe)
            want, got = logits(dense, out), logits(moe, out)
        self.assertEqual(len(got), len(want))
        self.assertGreater(np.sum(want ** 2), 0)
        nmse = np.sum((want - got) ** 2) / np.sum(want ** 2)
        self.assertLess(nmse, MAX_NMSE)


if __name__ == '__main__':
    if not os.access(PROGRAM, os.X_OK):
        print(f'{PROGRAM} is not built')
        sys.exit(77)
    unittest.main()
