# SPDX-License-Identifier: MIT
"""Text of the dense model's own making, to measure and train on: chats of which
it writes the question too (it begins behind the template's "user"), answers to
questions of ours, and free text.

	own_text.py DENSE.gguf OUT.npz [--pieces N] [--seed S] [--not-in TEXT]

Writes ids [N][LENGTH]; behind the end of an answer the model goes on as it
likes, with a next question or another document.  Questions of ours that are in
TEXT, which is held out, are left out.
"""
import argparse
import time

import numpy as np
import torch
import torch.nn.functional as F

import net
import shape
import tokens
from shape import HD, HEADS, KV

LENGTH = 320
# The vocabulary in blocks, of which one is drawn from first.
BLOCK = 256
SYSTEM = ('<|im_start|>system\nYou are a helpful AI assistant named SmolLM, '
          'trained by Hugging Face<|im_end|>\n')
FORMS = (
    'What is {}?', 'Why is {} important?', 'Explain {} to a child.',
    'Write a short story about {}.', 'Give me a list of five facts about {}.',
    'Tell me about {}. Answer in two sentences.', 'How does {} work?',
    'Write a poem about {}.', 'What are the advantages of {}?',
    'Compare {} and {}.', 'Write a letter to a friend about {}.',
    'Summarize the history of {} in one paragraph.',
    'Who first described {}?', 'Write a dialogue about {}.',
)
THINGS = (
    'the blue sky', 'rain', 'the sun', 'photosynthesis', 'a bicycle', 'bread',
    'the moon', 'gravity', 'music', 'a lighthouse', 'a computer', 'memory',
    'the sea', 'winter', 'a garden', 'electricity', 'a library', 'volcanoes',
    'honey bees', 'the Roman Empire', 'a dragon', 'friendship', 'tea',
    'the printing press', 'a railway', 'numbers', 'whales', 'sleep', 'chess',
    'a river', 'the human heart', 'glass', 'money', 'maps', 'an old clock',
    'mountains', 'vaccines', 'a robot', 'trees', 'stars', 'ice', 'language',
)
FREE = (
    'The', 'In the', 'A', 'Once upon a time', 'When', '#', 'There are', 'def',
    'import', 'How to', '1.', 'Dear', 'Introduction\n\n', 'If', 'Chapter 1',
    'Recipe', 'History of', 'As we', 'Scientists', '"',
)


def prompts(rng, n, known):
    """Texts of n prompts; `known` has no question of ours."""
    i = 0
    while n:
        i += 1
        system = SYSTEM if rng.integers(2) else ''
        if i % 4 < 2:
            text = f'{system}<|im_start|>user\n'
        elif i % 4 == 2:
            form = FORMS[rng.integers(len(FORMS))]
            question = form.format(*rng.choice(THINGS, 2, replace=False))
            if question in known:
                continue
            text = (f'{system}<|im_start|>user\n{question}<|im_end|>\n'
                    '<|im_start|>assistant\n')
        else:
            text = '<|endoftext|>' + FREE[rng.integers(len(FREE))]
        n -= 1
        yield text


class Writer:
    """The dense model on a batch of texts, a position at a time."""

    def __init__(self, dense, batch):
        self.layers = [{k: w.to(net.BF16) if w.ndim == 2 else w
                        for k, w in p.items()} for p in dense['layers']]
        self.embd = dense['embd'].to(net.BF16)
        self.out_norm, self.pos = dense['out_norm'], 0
        self.cs = net.rotations(LENGTH)
        self.k, self.v = torch.zeros(2, shape.L, batch, KV, LENGTH, HD,
                                     dtype=net.BF16)

    def attend(self, i, y):
        b, now = len(y), self.pos
        y = y.view(b, HEADS + 2 * KV, HD)
        cs = [x[now] for x in self.cs]
        qk = net.rotate(y[:, :HEADS + KV], cs)
        self.k[i, :, :, now], self.v[i, :, :, now] = qk[:, HEADS:], \
            y[:, HEADS + KV:]
        q = qk[:, :HEADS].view(b, KV, HEADS // KV, HD)
        s = q @ self.k[i, :, :, :now + 1].transpose(-1, -2)
        p = (s.float() * HD ** -0.5).softmax(-1).to(net.BF16)
        return (p @ self.v[i, :, :, :now + 1]).reshape(b, -1)

    @torch.no_grad()
    def step(self, ids):
        """The last layer's rows, normed, behind one more id of each text."""
        x = F.embedding(ids, self.embd).float()
        for i, p in enumerate(self.layers):
            y = F.linear(net.norm(x, p['attn_norm']).to(net.BF16), p['qkv'])
            x = x + F.linear(self.attend(i, y), p['o']).float()
            xn = net.norm(x, p['ffn_norm']).to(net.BF16)
            h = F.silu(F.linear(xn, p['gate']).float()) * \
                F.linear(xn, p['up']).float()
            x = x + F.linear(h.to(net.BF16), p['down']).float()
        self.pos += 1
        return net.norm(x, self.out_norm).to(net.BF16)


def draw(logits, temperature):
    """An id for each row: a block of the vocabulary, then a word in it."""
    n = len(logits)
    p = ((logits - logits.amax(-1, keepdim=True)) /
         temperature[:, None]).exp_().view(n, -1, BLOCK)
    below = p.sum(-1).cumsum(-1)
    cut = torch.rand(n, 1) * below[:, -1:]
    block = torch.searchsorted(below, cut).clamp(max=p.shape[1] - 1)
    cut -= torch.where(block > 0, below.gather(1, (block - 1).clamp(min=0)), 0.)
    inside = p[torch.arange(n), block[:, 0]].cumsum(-1)
    return (block * BLOCK + torch.searchsorted(inside, cut).clamp(
        max=BLOCK - 1))[:, 0].numpy()


def write(dense, path, count, seed, known, say=lambda pos: None):
    """(ids, rows) of pieces, both [piece][LENGTH]; `dense` is the model at `path`,
    `known` has no question of ours."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    # One call of the tokenizer: prompts are cut apart at a marker.
    ids = tokens.tokenize(path, '<|endoftext|><|endoftext|>'.join(
        '<|im_end|>' + t for t in prompts(rng, count, known)))
    cuts = np.flatnonzero((ids[:-1] == 0) & (ids[1:] == 0))
    queue = [list(p[np.flatnonzero(p == shape.IM_END)[0] + 1:])
             for p in np.split(ids, cuts)]
    temperature = torch.tensor(rng.choice([0.6, 0.8, 1.0, 1.0], count),
                               dtype=torch.float32)
    writer = Writer(dense, count)
    out = torch.zeros(count, LENGTH, dtype=torch.int64)
    rows = torch.zeros(count, LENGTH, shape.N, dtype=net.BF16)
    now = torch.tensor([q.pop(0) for q in queue])
    for pos in range(LENGTH):
        out[:, pos] = now
        rows[:, pos] = writer.step(now)
        drawn = draw((rows[:, pos] @ writer.embd.t()).float(), temperature)
        now = torch.tensor([q.pop(0) if q else int(d)
                            for q, d in zip(queue, drawn)])
        say(pos)
    return out, rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    parser.add_argument('dense')
    parser.add_argument('out')
    parser.add_argument('--pieces', type=int, default=128)
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--not-in', metavar='TEXT')
    args = parser.parse_args()

    torch.set_num_threads(1)
    known, start = '', time.time()
    if args.not_in:
        with open(args.not_in, encoding='utf-8') as f:
            known = f.read()

    def say(pos):
        if pos % 40 == 0:
            print(f'{pos}: {time.time() - start:.0f} s', flush=True)

    ids, _ = write(net.load(args.dense), args.dense, args.pieces, args.seed,
                   known, say)
    np.savez_compressed(args.out, ids=ids.numpy().astype(np.int32))


if __name__ == '__main__':
    main()
