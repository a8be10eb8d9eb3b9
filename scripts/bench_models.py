# SPDX-License-Identifier: MIT
"""The models that bench-peers measures in memory: the small real one that the
demo fetches, a dense one of the geometry of a 1B model with random weights, and
as many layers of the random Mixture-of-Experts one as fit."""
import importlib.machinery
import importlib.util
import math
import os
import shutil
import subprocess
import sys
import types

import bench_common as common
import gguf_io as gguf

HERE = os.path.dirname(os.path.abspath(__file__))
LAYER_BYTES = 360e6
TRUNK_BYTES = 450e6
FULL_LAYERS = 48
# Of the memory and the disk that are free; the rest is for keys, values and the
# system.
MEMORY_SHARE = 0.7

DENSE = types.SimpleNamespace(
    layers=16, embd=2048, heads=32, kv_heads=8, head_dim=64, expert_ff=8192,
    used=1, experts=1, vocab=128256, ctx=8192, type='Q4_K')


def generator():
    """make-random-model, as a module."""
    loader = importlib.machinery.SourceFileLoader(
        'make_random_model', f'{HERE}/make-random-model')
    spec = importlib.util.spec_from_loader('make_random_model', loader)
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


class DenseWriter(gguf.Writer):
    """Makes a dense model's metadata of a Mixture-of-Experts model's."""

    def add(self, key, vtype, value):
        if '.expert_' in key:
            return
        if key == 'general.architecture':
            value = 'qwen3'
        super().add(key.replace('qwen3moe.', 'qwen3.'), vtype, value)


def make_dense(path):
    """qwen3 with the shapes of a 1B model, Q4_K, output Q6_K; about 0.8 GB."""
    make, g = generator(), DENSE
    weights = make.Weights(1)
    out = DenseWriter(path)
    make.add_metadata(out, g, 'random qwen3 1B')
    add = 1 / math.sqrt(2 * g.layers)

    def matrix(name, n_in, n_out, kind='Q4_K', scale=1.0):
        dims, std = [n_in, n_out], scale / math.sqrt(n_in)
        out.add_tensor(name, dims, gguf.TYPE_ID[kind],
                       lambda: weights.matrix(name, dims, kind, std))

    def norm(name, size):
        out.add_tensor(name, [size], gguf.TYPE_ID['F32'],
                       lambda: weights.norm(name, [size]))

    q, kv = g.heads * g.head_dim, g.kv_heads * g.head_dim
    matrix('token_embd.weight', g.embd, g.vocab, scale=math.sqrt(g.embd))
    for i in range(g.layers):
        b = f'blk.{i}.'
        mixed = 'Q6_K' if make.more_bits(i, g.layers) else 'Q4_K'
        norm(b + 'attn_norm.weight', g.embd)
        matrix(b + 'attn_q.weight', g.embd, q)
        matrix(b + 'attn_k.weight', g.embd, kv)
        matrix(b + 'attn_v.weight', g.embd, kv, mixed)
        matrix(b + 'attn_output.weight', q, g.embd, scale=add)
        norm(b + 'attn_q_norm.weight', g.head_dim)
        norm(b + 'attn_k_norm.weight', g.head_dim)
        norm(b + 'ffn_norm.weight', g.embd)
        matrix(b + 'ffn_gate.weight', g.embd, g.expert_ff)
        matrix(b + 'ffn_up.weight', g.embd, g.expert_ff)
        matrix(b + 'ffn_down.weight', g.expert_ff, g.embd, mixed, add)
    norm('output_norm.weight', g.embd)
    matrix('output.weight', g.embd, g.vocab, 'Q6_K')
    out.write()


def resident_models(folder):
    """Paths of the models that are there or could be made."""
    os.makedirs(folder, exist_ok=True)
    cache = os.environ.get('XDG_CACHE_HOME',
                           os.path.expanduser('~/.cache')) + '/penstock'
    small = f'{cache}/smollm2-135m-instruct-q4_1.gguf'
    if os.path.exists(small):
        yield small
    else:
        print(f'{small}: not there; make demo fetches it', file=sys.stderr)
    dense = f'{folder}/random-qwen3-1b.gguf'
    if not os.path.exists(dense):
        make_dense(dense)
    yield dense
    room = min(common.mem_available_bytes() * MEMORY_SHARE,
               shutil.disk_usage(folder).free * MEMORY_SHARE) - TRUNK_BYTES
    layers = max(1, min(FULL_LAYERS, int(room / LAYER_BYTES)))
    moe = f'{folder}/random-qwen3moe-{layers}.gguf'
    if not os.path.exists(moe):
        subprocess.run([f'{HERE}/make-random-model', moe, '--layers',
                        str(layers)], check=True, stdout=sys.stderr)
    yield moe
