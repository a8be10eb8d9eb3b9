# SPDX-License-Identifier: MIT
"""Text of the dense model's own making, to measure and train on: chats of which
it writes the question too (it begins behind the template's "user"), answers to
questions of ours, and free text.

	own_text.py DENSE.gguf OUT.npz [--batches N] [--seed S]

Writes ids [n][LENGTH]; behind the end of an answer the model goes on as it
likes, with a next question or another document.
"""
import argparse
import itertools
import time

import jax.numpy as jnp
import numpy as np

import lm
import shape

BATCH, LENGTH = 128, 320
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


def prompts(rng, n):
    for i in range(n):
        if i % 4 < 2:
            system = SYSTEM if i % 4 == 0 else ''
            yield system + '<|im_start|>user\n'
        elif i % 4 == 2:
            form = FORMS[rng.integers(len(FORMS))]
            things = rng.choice(THINGS, 2, replace=False)
            system = SYSTEM if rng.integers(2) else ''
            yield (f'{system}<|im_start|>user\n{form.format(*things)}'
                   '<|im_end|>\n<|im_start|>assistant\n')
        else:
            yield '<|endoftext|>' + FREE[rng.integers(len(FREE))]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    parser.add_argument('dense')
    parser.add_argument('out')
    parser.add_argument('--batches', type=int, default=1)
    parser.add_argument('--seed', type=int, default=1)
    args = parser.parse_args()

    params = lm.bf16(lm.load_dense(args.dense))
    layers, embd, out_norm = lm.split(params)
    params = {'embd': embd, 'out_norm': out_norm, 'layers': [
        {k: w[i] for k, w in layers.items()} for i in range(shape.L)]}
    rng = np.random.default_rng(args.seed)
    texts = list(prompts(rng, BATCH * args.batches * 3))
    # One call of the tokenizer: prompts are cut apart at a marker.
    ids = lm.tokenize(args.dense, '<|endoftext|><|endoftext|>'.join(
        '<|im_end|>' + t for t in texts))
    cuts = np.flatnonzero((ids[:-1] == 0) & (ids[1:] == 0))
    parts = [p[np.flatnonzero(p == shape.IM_END)[0] + 1:]
             for p in np.split(ids, cuts)]
    source = itertools.cycle(parts)
    done, start = [], time.time()
    for b in range(args.batches):
        out = np.zeros((BATCH, LENGTH), np.int32)
        queue = [list(next(source)) for _ in range(BATCH)]
        temperature = jnp.asarray(rng.choice([0.6, 0.8, 1.0], BATCH),
                                  jnp.float32)
        cache = lm.empty_cache(BATCH, LENGTH)
        now = np.array([q.pop(0) for q in queue], np.int32)
        for pos in range(LENGTH):
            out[:, pos] = now
            cut = rng.random(BATCH, np.float32)
            cache, drawn = lm.sample(params, cache, jnp.asarray(now),
                                     jnp.int32(pos), jnp.asarray(cut),
                                     temperature, (pos // 160 + 1) * 160)
            drawn = np.asarray(drawn)
            if pos % 20 == 0:
                print(f'batch {b}, {pos}: {time.time() - start:.0f} s',
                      flush=True)
            for i in range(BATCH):
                now[i] = queue[i].pop(0) if queue[i] else drawn[i]
        done.append(out)
        np.savez_compressed(args.out, ids=np.concatenate(done))


if __name__ == '__main__':
    main()
