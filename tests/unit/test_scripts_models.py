#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The generators of model files: what make-demo-model writes holds the dense
weights to the byte, and what make-random-model writes is centred, scaled and
replayable.  Skips (77) without numpy."""
import os
import subprocess
import sys
import tempfile
import unittest

SRC = os.environ.get('PENSTOCK_SRC') or os.path.dirname(os.path.dirname(
    os.path.dirname(os.path.abspath(__file__))))
SCRIPTS = os.path.join(SRC, 'scripts')
CASES = os.path.join(SRC, 'tests', 'data', 'logits')
sys.dont_write_bytecode = True
sys.path.insert(0, SCRIPTS)
try:
    import gguf_io as gguf
    from gguf_io import np
except SystemExit as e:
    print(e)
    sys.exit(77)


def run(script, *args):
    return subprocess.run([os.path.join(SCRIPTS, script), *args], text=True,
                          capture_output=True, check=False)


def case(name):
    return os.path.join(CASES, name, 'model.gguf')


class InTempDir(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.TemporaryDirectory()
        self.out = os.path.join(self.dir.name, 'out.gguf')

    def tearDown(self):
        self.dir.cleanup()


class DemoModel(InTempDir):
    def convert(self, source, *args):
        done = run('make-demo-model', source, self.out, *args)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return gguf.Reader(source), gguf.Reader(self.out)

    def expert_bytes(self, dense, made, layer, kind, e):
        """(bytes of expert e, bytes it must have) cut out by hand."""
        nr = made.get('llama.expert_count')
        part = dense.get('llama.feed_forward_length') // nr
        d = dense.find(f'blk.{layer}.ffn_{kind}.weight')
        m = made.find(f'blk.{layer}.ffn_{kind}_exps.weight')
        data = bytes(dense.data(d))
        _, elems, nbytes = gguf.TYPES[d.type]
        row = d.dims[0] // elems * nbytes
        if kind == 'down':
            width = part // elems * nbytes
            want = b''.join(
                data[r * row + e * width:r * row + (e + 1) * width]
                for r in range(d.dims[1]))
        else:
            want = data[e * part * row:(e + 1) * part * row]
        stack = bytes(made.data(m))
        size = len(stack) // nr
        return stack[e * size:(e + 1) * size], want

    def check_experts(self, dense, made):
        nr = made.get('llama.expert_count')
        for layer in range(dense.get('llama.block_count')):
            for kind in ('gate', 'up', 'down'):
                for e in range(nr):
                    got, want = self.expert_bytes(dense, made, layer, kind, e)
                    self.assertEqual(got, want, (layer, kind, e))

    def test_experts_are_the_bytes_of_the_dense_ffn(self):
        self.check_experts(*self.convert(case('llama')))

    def write_dense(self, ff, down_type):
        """A dense model whose FFN holds random bytes."""
        path = os.path.join(self.dir.name, 'dense.gguf')
        out = gguf.Writer(path)
        rng = np.random.default_rng(7)
        n = 64
        out.add('general.architecture', gguf.STRING, 'llama')
        for key, value in (('block_count', 1), ('embedding_length', n),
                           ('feed_forward_length', ff)):
            out.add('llama.' + key, gguf.U32, value)
        for kind, dims, name in (('down', [ff, n], down_type),
                                 ('gate', [n, ff], 'Q8_0'),
                                 ('up', [n, ff], 'Q4_1')):
            ttype = gguf.TYPE_ID[name]
            data = rng.integers(0, 256, gguf.tensor_bytes(dims, ttype),
                                np.uint8)
            out.add_tensor(f'blk.0.ffn_{kind}.weight', dims, ttype,
                           lambda data=data: [data])
        out.write()
        return path

    def test_experts_are_as_many_as_whole_blocks_allow(self):
        for ff, down_type, nr in ((1536, 'Q6_K', 6), (1536, 'Q4_1', 16),
                                  (96, 'Q8_0', 3), (100, 'F32', 10)):
            dense, made = self.convert(self.write_dense(ff, down_type))
            self.assertEqual(made.get('llama.expert_count'), nr)
            self.assertEqual(made.get('llama.expert_feed_forward_length'),
                             ff // nr)
            self.check_experts(dense, made)

    def test_everything_else_is_copied(self):
        dense, made = self.convert(case('llama'))
        for key, value in dense.kv.items():
            self.assertEqual(made.kv[key], value)
        for t in dense.tensors:
            if '.ffn_' in t.name and 'norm' not in t.name:
                continue
            copy = made.find(t.name)
            self.assertEqual((copy.dims, copy.type), (t.dims, t.type))
            self.assertEqual(bytes(made.data(copy)), bytes(dense.data(t)))

    def test_the_router_gives_every_expert_the_weight_one(self):
        _, made = self.convert(case('llama'))
        nr = made.get('llama.expert_count')
        self.assertGreaterEqual(nr, 2)
        self.assertEqual(made.get('llama.expert_used_count'), nr)
        self.assertEqual(made.get('llama.expert_weights_scale'), nr)
        routers = [t for t in made.tensors if 'ffn_gate_inp' in t.name]
        self.assertEqual(len(routers), made.get('llama.block_count'))
        for t in routers:
            self.assertFalse(made.data(t).any())

    def test_a_number_of_experts_that_cuts_blocks_is_refused(self):
        done = run('make-demo-model', case('q-llama-Q6_K'), self.out,
                   '--experts', '7')
        self.assertNotEqual(done.returncode, 0)
        self.assertIn('whole blocks', done.stderr)
        self.assertFalse(os.path.exists(self.out))

    def test_a_model_with_experts_is_refused(self):
        done = run('make-demo-model', case('llama-mixtral'), self.out)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn('experts already', done.stderr)


class RandomModel(InTempDir):
    def make(self, *args):
        done = run('make-random-model', self.out, *args)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout

    def contents(self):
        with open(self.out, 'rb') as f:
            return f.read()

    def test_the_seed_decides_the_file(self):
        self.make('--tiny', '--seed', '5')
        first = self.contents()
        self.make('--tiny', '--seed', '5')
        self.assertEqual(self.contents(), first)
        self.make('--tiny', '--seed', '6')
        self.assertNotEqual(self.contents(), first)

    def test_weights_are_centred_and_scaled(self):
        kinds = ['Q4_K', 'Q6_K', 'Q8_0', 'F32']
        for kind in kinds:
            self.make('--small', '--layers', '1', '--type', kind, '--experts',
                      '8', '--vocab', '512')
            model = gguf.Reader(self.out)
            t = model.find('blk.0.ffn_gate_exps.weight')
            self.assertEqual(t.type_name, kind)
            w = gguf.dequantise(model.data(t), t.type) * np.sqrt(t.dims[0])
            self.assertLess(abs(w.mean()), 0.01, kind)
            self.assertLess(abs(w.std() - 1), 0.02, kind)

    def test_no_two_experts_are_alike(self):
        self.make('--small', '--layers', '2', '--vocab', '512')
        model = gguf.Reader(self.out)
        seen = set()
        for t in model.tensors:
            if '_exps.' not in t.name:
                continue
            for expert in model.data(t).reshape(t.dims[2], -1):
                seen.add(expert.tobytes()[-4096:])
        self.assertEqual(len(seen), 2 * 3 * 64)

    def test_a_sample_reaches_every_expert(self):
        words = self.make('--tiny', '--check-routing')
        self.assertIn('256 tokens reach 16 of 16 experts', words)

    def test_merges_and_tokens_fit_each_other(self):
        self.make('--tiny', '--vocab', '1000')
        model = gguf.Reader(self.out)
        tokens = self.strings(model, 'tokenizer.ggml.tokens')
        self.assertEqual(len(tokens), 1000)
        self.assertEqual(len(set(tokens)), 1000)
        for merge in self.strings(model, 'tokenizer.ggml.merges'):
            left, right = merge.split(' ')
            self.assertIn(left, tokens)
            self.assertIn(right, tokens)
            self.assertIn(left + right, tokens)

    @staticmethod
    def strings(model, key):
        raw = model.kv[key][1]
        count, pos, out = int.from_bytes(raw[4:12], 'little'), 12, []
        for _ in range(count):
            size = int.from_bytes(raw[pos:pos + 8], 'little')
            out.append(raw[pos + 8:pos + 8 + size].decode())
            pos += 8 + size
        return out


if __name__ == '__main__':
    unittest.main()
