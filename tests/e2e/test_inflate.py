#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""scripts/inflate-model makes a trained model larger and leaves what it computes
as it is; bench plays the tokens of a text through it."""
import json
import os
import subprocess
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
import pst_e2e as e2e  # noqa: E402

sys.path.insert(0, os.path.join(e2e.SRC, 'scripts'))
try:
    import gguf_io as gguf
    from gguf_io import np
except SystemExit as e:
    e2e.skip(e)

MODEL = os.path.join(e2e.SRC, 'share', 'tiny-stories.gguf')
HELD_OUT = os.path.join(e2e.DATA, 'stories', 'held-out.txt')
TOKENS = 60
EMBD, FF, LAYERS, USED = 192, 64, 6, 4


def inflate(out, *options):
    return subprocess.run(
        [os.path.join(e2e.SRC, 'scripts', 'inflate-model'), MODEL, out,
         *map(str, options)], capture_output=True, text=True, check=False)


class Inflated(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.tokens = os.path.join(cls.folder.name, 'tokens.json')
        ids = json.loads(e2e.run('tokenize', MODEL, '-f', HELD_OUT).stdout)
        with open(cls.tokens, 'w', encoding='ascii') as f:
            json.dump(ids[:TOKENS], f)
        cls.small = e2e.logits(MODEL, cls.tokens)

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def make(self, *options):
        out = os.path.join(self.folder.name, 'large.gguf')
        done = inflate(out, *options)
        self.assertEqual(done.returncode, 0, done.stderr)
        return out

    def bench(self, *options):
        p = e2e.run('bench', MODEL, '--tokens-file', self.tokens, *options)
        return p.returncode, p.stdout, p.stderr.decode()

    def test_wider_experts_and_more_heads_change_no_bit(self):
        large = self.make('--embd', EMBD, '--expert-ff', 2 * FF, '--heads', 2)
        self.assertEqual(e2e.logits(large, self.tokens), self.small)
        old, new = gguf.Reader(MODEL), gguf.Reader(large)
        name = 'blk.0.ffn_gate_exps.weight'
        self.assertEqual(new.find(name).nbytes, 2 * old.find(name).nbytes)

    def test_a_wider_stream_rounds_otherwise_and_no_more(self):
        large = self.make('--embd', 2 * EMBD, '--expert-ff', FF)
        small = np.frombuffer(self.small, np.float32)
        wide = np.frombuffer(e2e.logits(large, self.tokens), np.float32)
        error = np.sum((wide - small) ** 2) / np.sum(small ** 2)
        print(f'# normalised mean squared error {error:.2g}')
        self.assertLess(error, 1e-3)

    def test_what_is_added_has_random_codes_and_the_scale_zero(self):
        large = gguf.Reader(self.make('--embd', EMBD, '--expert-ff', 2 * FF))
        t = large.find('blk.0.ffn_gate_exps.weight')
        blocks = large.data(t).reshape(32, 2 * FF, EMBD // 32, 18)[:, FF:]
        self.assertFalse(blocks[..., :2].any())
        counts = np.bincount(blocks[..., 2:].ravel(), minlength=256)
        self.assertLess(counts.max(), 2 * counts.mean())

    def test_a_smaller_one_is_refused(self):
        out = os.path.join(self.folder.name, 'none.gguf')
        done = inflate(out, '--embd', 64, '--expert-ff', FF)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn('cannot become 64', done.stderr)
        self.assertFalse(os.path.exists(out))

    def test_bench_takes_the_tokens_of_a_file(self):
        rc, out, _ = self.bench('-p', 20, '-o', 'json')
        self.assertEqual(rc, 0)
        result = json.loads(out)['results'][0]
        self.assertEqual(result['prefill_tokens'], 20)
        self.assertEqual(result['decode_tokens'], TOKENS - 20)

    def test_every_block_is_foreseen_the_first_too(self):
        rc, out, _ = self.bench('-p', 2, '-g', 30, '-o', 'json', '--prefetch',
                                'next', '--expert-cache', '30%')
        self.assertEqual(rc, 0)
        result = json.loads(out)['results'][0]
        self.assertEqual(result['predict_said'], 30 * LAYERS * USED)

    def test_whole_blocks_are_read_ahead_where_it_is_forced(self):
        read = {}
        for way in ('union', 'whole'):
            rc, out, err = self.bench(
                '-p', TOKENS, '-g', 0, '-o', 'json', '--prefetch', 'next',
                '--expert-cache', '40%', '--prefill', way, '--against',
                'resident')
            self.assertEqual(rc, 0, err)
            read[way] = json.loads(out)['results'][0]['distinct_experts']
        self.assertEqual(read['union'], read['whole'])

    def test_bench_wants_as_many_as_it_is_asked_for(self):
        rc, _, err = self.bench('-p', 20, '-g', TOKENS)
        self.assertEqual(rc, 2)
        self.assertIn(f'has {TOKENS} tokens, {TOKENS + 20} are asked', err)


if __name__ == '__main__':
    unittest.main(verbosity=2)
