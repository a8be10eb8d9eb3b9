#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The generators of model files: what make-demo-model writes is the dense model's
weights in another order; what make-random-model writes is centred, scaled and
replayable; what make-random-like writes has the header's tensors.  Skips (77) without numpy."""
import os
import subprocess
import sys
import tempfile
import unittest

SRC = os.environ.get('PENSTOCK_SRC') or os.path.dirname(os.path.dirname(
    os.path.dirname(os.path.abspath(__file__))))
SCRIPTS = os.path.join(SRC, 'scripts')
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


class InTempDir(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.TemporaryDirectory()
        self.out = os.path.join(self.dir.name, 'out.gguf')

    def tearDown(self):
        self.dir.cleanup()


class DemoModel(InTempDir):
    LAYERS, N, FF, HEADS, KV = 2, 64, 160, 4, 2
    WIDTH, EXPERTS, USED, SHARED, GROUPS = 32, 6, 2, 64, 2

    def setUp(self):
        super().setUp()
        self.dense = os.path.join(self.dir.name, 'dense.gguf')
        self.data = os.path.join(self.dir.name, 'data.npz')
        self.rng = np.random.default_rng(7)
        self.write_dense()
        self.write_data()

    def write_dense(self, arch='llama', down='F32', **more):
        out = gguf.Writer(self.dense)
        out.add('general.architecture', gguf.STRING, arch)
        for key, value in {'block_count': self.LAYERS,
                           'embedding_length': self.N,
                           'feed_forward_length': self.FF,
                           'attention.head_count': self.HEADS,
                           'attention.head_count_kv': self.KV, **more}.items():
            out.add('llama.' + key, gguf.U32, value)
        out.add('tokenizer.ggml.tokens', gguf.ARRAY,
                (gguf.STRING, ['a', 'b', 'c']))

        def tensor(name, dims, type_name):
            w = self.rng.standard_normal(dims[::-1]).astype(np.float32)
            if type_name == 'Q4_1':
                size = gguf.tensor_bytes(dims, gguf.TYPE_ID['Q4_1'])
                # Bytes below 60: the float16 in them are small numbers.
                w = self.rng.integers(0, 60, size, np.uint8)
            out.add_tensor(name, dims, gguf.TYPE_ID[type_name], lambda: [w])

        tensor('token_embd.weight', [self.N, 3], 'F32')
        tensor('output_norm.weight', [self.N], 'F32')
        for i in range(self.LAYERS):
            b = f'blk.{i}.'
            half = self.N * self.KV // self.HEADS
            for name, n in (('q', self.N), ('k', half), ('v', half),
                            ('output', self.N)):
                tensor(f'{b}attn_{name}.weight', [self.N, n], 'Q4_1')
            for name in ('gate', 'up'):
                tensor(f'{b}ffn_{name}.weight', [self.N, self.FF], 'Q4_1')
            tensor(b + 'ffn_down.weight', [self.FF, self.N], down)
            for name in ('attn', 'ffn'):
                tensor(f'{b}{name}_norm.weight', [self.N], 'F32')
        out.write()

    def write_data(self):
        rest = self.FF - self.SHARED
        order = [np.concatenate([p[:self.SHARED]] + [
            p[self.SHARED:][self.rng.permutation(rest)]
            for _ in range(self.GROUPS)])
            for p in (self.rng.permutation(self.FF)
                      for _ in range(self.LAYERS))]
        self.values = {
            'name': np.array('a name'), 'order': np.stack(order),
            'geometry': np.array([self.WIDTH, self.EXPERTS, self.USED,
                                  self.SHARED, self.GROUPS]),
            'router': self.rng.standard_normal(
                (self.LAYERS, self.N, self.EXPERTS)).astype(np.float16),
            'scale': self.rng.random((self.LAYERS, self.EXPERTS + 1),
                                     np.float32)}
        np.savez(self.data, **self.values)

    def make(self, *args):
        done = run('make-demo-model', self.dense, self.out, '--data',
                   self.data, *args)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return gguf.Reader(self.dense), gguf.Reader(self.out)

    def floats(self, model, name):
        t = model.find(name)
        return gguf.dequantise(model.data(t), t.type).reshape(t.dims[::-1])

    def at(self, slot):
        """Expert (-1: the shared one) and place in it."""
        if slot < self.SHARED:
            return -1, slot
        return divmod(slot - self.SHARED, self.WIDTH)

    def test_gate_and_up_keep_the_bytes_of_each_neuron(self):
        dense, made = self.make()
        for layer in range(self.LAYERS):
            for kind in ('gate', 'up'):
                old = dense.data(dense.find(f'blk.{layer}.ffn_{kind}.weight'))
                row = len(old) // self.FF
                for slot, neuron in enumerate(self.values['order'][layer]):
                    e, i = self.at(slot)
                    new = made.data(made.find(
                        f'blk.{layer}.ffn_{kind}_'
                        f'{"shexp" if e < 0 else "exps"}.weight'))
                    start = (max(e, 0) * self.WIDTH + i) * row
                    self.assertEqual(
                        bytes(new[start:start + row]),
                        bytes(old[neuron * row:(neuron + 1) * row]))

    def check_down(self, type_name, error):
        dense, made = self.make()
        for layer in range(self.LAYERS):
            name = f'blk.{layer}.ffn_down'
            old = self.floats(dense, name + '.weight')
            shared = self.floats(made, name + '_shexp.weight')
            routed = self.floats(made, name + '_exps.weight')
            self.assertEqual(made.find(name + '_exps.weight').type_name,
                             type_name)
            for slot, neuron in enumerate(self.values['order'][layer]):
                e, i = self.at(slot)
                got = shared[:, i] if e < 0 else routed[e, :, i]
                want = old[:, neuron] * self.values['scale'][layer][e + 1]
                np.testing.assert_allclose(got, want, atol=error)

    def test_down_gets_the_factor_of_the_expert(self):
        self.check_down('F32', 1e-6)

    def test_down_in_blocks_is_rounded_to_eight_bits(self):
        self.write_dense(down='Q4_1')
        # The largest value of the made-up blocks is below 60 x 16; half a
        # step of that, and float16's rounding of the step.
        big = max(np.abs(self.floats(gguf.Reader(self.dense),
                                     f'blk.{i}.ffn_down.weight')).max()
                  for i in range(self.LAYERS))
        self.check_down('Q8_0', big / 127 * 0.57)

    def test_attention_keeps_its_bytes_but_for_the_order_of_q_and_k(self):
        dense, made = self.make()
        for i in range(self.LAYERS):
            for name, turned in (('q', 1), ('k', 1), ('v', 0), ('output', 0)):
                name = f'blk.{i}.attn_{name}.weight'
                old, new = dense.find(name), made.find(name)
                self.assertEqual((old.dims, old.type), (new.dims, new.type))
                rows = dense.data(old).reshape(old.dims[1], -1)
                got = made.data(new).reshape(old.dims[1], -1)
                for r in range(old.dims[1]):
                    # Row r of a head of 16: pair r mod 8, half r div 8.
                    head, at = divmod(r, 16)
                    src = head * 16 + at % 8 * 2 + at // 8 if turned else r
                    self.assertEqual(bytes(got[r]), bytes(rows[src]))

    def test_the_rest_is_copied_or_taken_from_the_data(self):
        dense, made = self.make()
        for name in ('token_embd.weight', 'output_norm.weight'):
            self.assertEqual(bytes(made.data(made.find(name))),
                             bytes(dense.data(dense.find(name))))
        key = 'tokenizer.ggml.tokens'
        self.assertEqual(made.kv[key], dense.kv[key])
        for i in range(self.LAYERS):
            np.testing.assert_array_equal(
                self.floats(made, f'blk.{i}.ffn_gate_inp.weight'),
                self.values['router'][i].T)
            np.testing.assert_array_equal(
                self.floats(made, f'blk.{i}.post_attention_norm.weight'),
                self.floats(dense, f'blk.{i}.ffn_norm.weight'))
            np.testing.assert_array_equal(
                self.floats(made, f'blk.{i}.attn_norm.weight'),
                self.floats(dense, f'blk.{i}.attn_norm.weight'))
            self.assertFalse(
                self.floats(made, f'blk.{i}.exp_probs_b.bias').any())

    def test_the_keys_say_the_geometry(self):
        _, made = self.make()
        self.assertEqual(made.get('general.architecture'), 'glm4moe')
        for key, value in (('block_count', self.LAYERS),
                           ('expert_count', self.EXPERTS),
                           ('expert_used_count', self.USED),
                           ('expert_feed_forward_length', self.WIDTH),
                           ('expert_shared_count', 2),
                           ('expert_group_count', self.GROUPS),
                           ('expert_group_used_count', 1),
                           ('expert_weights_scale', 1.0),
                           ('expert_weights_norm', False)):
            self.assertEqual(made.get('glm4moe.' + key), value, key)

    def test_another_number_of_experts_can_be_asked_for(self):
        _, made = self.make('--used', '3')
        self.assertEqual(made.get('glm4moe.expert_used_count'), 3)
        # A group has three.
        for nr in ('0', '4'):
            self.refused('experts cannot be used', '--used', nr)

    def refused(self, words, *args):
        if os.path.exists(self.out):
            os.unlink(self.out)
        done = run('make-demo-model', self.dense, self.out, '--data',
                   self.data, *args)
        self.assertEqual(done.returncode, 1)
        self.assertIn(words, done.stderr)
        self.assertFalse(os.path.exists(self.out))

    def test_a_model_that_the_data_is_not_for_is_refused(self):
        self.write_dense(feed_forward_length=self.FF + 64)
        self.refused('the data is for 2 of 160')

    def test_another_architecture_is_refused(self):
        self.write_dense(arch='qwen2')
        self.refused('only the architecture "llama"')

    def test_a_model_with_experts_is_refused(self):
        self.write_dense(expert_count=4)
        self.refused('experts already')


class RandomLike(InTempDir):
    KINDS = 'Q4_K', 'Q5_0', 'Q6_K', 'Q8_0', 'MXFP4', 'F16', 'F32'

    def header(self, tensors):
        """A file without data, (name, dims, type) each."""
        path = os.path.join(self.dir.name, 'header')
        out = gguf.Writer(path)
        out.add('general.architecture', gguf.STRING, 'llama')
        out.add('llama.block_count', gguf.U32, 2)
        out.add('llama.embedding_length', gguf.U32, 256)
        out.add('llama.odd', gguf.F32, 0.25)
        out.add('tokenizer.ggml.tokens', gguf.ARRAY,
                (gguf.STRING, ['a']))
        for name, dims, kind in tensors:
            out.add_tensor(name, dims, gguf.TYPE_ID[kind], None)
        with open(path, 'wb') as f:
            f.write(out._header())
        return path

    def make(self, tensors, *args):
        done = run('make-random-like', self.header(tensors), self.out, *args)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return gguf.Reader(self.out)

    def test_keys_and_tensors_are_those_of_the_header(self):
        tensors = [('token_embd.weight', [256, 400], 'Q8_0'),
                   ('blk.0.attn_norm.weight', [256], 'F32'),
                   ('blk.0.attn_q.bias', [64], 'F32'),
                   ('blk.1.ffn_gate_inp.weight', [256, 8], 'F32')]
        model = self.make(tensors)
        self.assertEqual([(t.name, t.dims, t.type_name)
                          for t in model.tensors], tensors)
        self.assertEqual(model.get('llama.odd'), 0.25)
        self.assertEqual(len(RandomModel.strings(
            model, 'tokenizer.ggml.tokens')), 400)

    def test_weights_of_every_type_are_centred_and_scaled(self):
        tensors = [('token_embd.weight', [256, 400], 'F16')]
        tensors += [(f'blk.{i}.attn_q.weight', [512, 2048], kind)
                    for i, kind in enumerate(self.KINDS)]
        model = self.make(tensors)
        for t in model.tensors[1:]:
            w = gguf.dequantise(model.data(t), t.type) * np.sqrt(512)
            self.assertLess(abs(w.mean()), 0.01, t.type_name)
            self.assertLess(abs(w.std() - 1), 0.02, t.type_name)

    def test_a_header_without_a_vocabulary_is_refused(self):
        header = self.header([('blk.0.attn_q.weight', [256, 8], 'F32')])
        done = run('make-random-like', header, self.out)
        self.assertIn('no token_embd.weight', done.stderr)
        self.assertFalse(os.path.exists(self.out))

    def test_a_header_that_is_none_is_refused(self):
        with open(self.out, 'wb') as f:
            f.write(b'GGUF' + bytes(400))
        done = run('make-random-like', self.out, self.out + '2')
        self.assertEqual(done.returncode, 1)
        self.assertIn('penstock: ', done.stderr)


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
