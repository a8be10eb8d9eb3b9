# SPDX-License-Identifier: MIT
"""The engines that are compared: how each is called and what it answers."""
import collections
import json
import os
import subprocess

import bench_common as common

HERE = os.path.dirname(os.path.abspath(__file__))
BATCH = 512
# BigMoeOnEdge generates its own tokens.  Nearly even sampling from a random
# model is as good as forced random tokens; the prompt has about 32.
BMOE_PROMPT = 'a quick run of words over a lazy model'
# What BigMoeOnEdge's cache leaves of --ram, beside the trunk.
BMOE_OWN_MIB = 300

# `parse` makes of what it printed an object with the keys of `penstock bench`.
Engine = collections.namedtuple('Engine', 'name command parse env',
                                defaults=({},))
# Tokens of the prompt, and those that are decoded after it.
Work = collections.namedtuple('Work', 'prompt gen')


def parse_json(text):
    """The one result of `penstock bench` or of peer_llama."""
    value = json.loads(text)
    return value['results'][0] if 'results' in value else value


def penstock(o, model, name, work, *options):
    """`work` is None where the options say what is decoded."""
    size = () if work is None else ('--prompt-tokens', str(work.prompt),
                                    '--gen-tokens', str(work.gen))
    return Engine(f'penstock {name}', [
        o.program, 'bench', model, '--threads', str(o.threads), *size,
        '--batch-size', str(BATCH), '-o', 'json', *options], parse_json)


def llama(o, model, name, work, *options):
    """Its threads are bound, as ours are: that doubles its speed on a bad day."""
    return Engine(f'llama.cpp{name}', [
        o.llama, model, str(o.threads), str(work.prompt), str(work.gen),
        str(BATCH), 'mmap', *options], parse_json, {'OMP_PROC_BIND': 'true'})


def bmoe(o, model, name, work, ram, trunk_bytes):
    """Its cache is what --ram leaves beside the trunk and the program.  Its
    reading threads would be bound too, so they are left alone."""
    cache = max(500, (ram - trunk_bytes) // common.MIB - BMOE_OWN_MIB)
    return Engine('bmoe' + name, [
        o.bmoe, '-m', model, '-t', str(o.threads), '-n', str(work.gen), '-c',
        '512', '-p', BMOE_PROMPT, '--temp', '1', '--top-k', '0', '--top-p',
        '1', '--seed', '1', '--moe-stream', '--cache-mb', str(cache),
        '--force-cache', '--io-threads', '4', '--progress',
        *(['--overlap'] if name else [])], parse_bmoe)


def parse_bmoe(text):
    """Sums over its progress lines, the first token left out: it holds the
    prompt."""
    steps = [json.loads(line.split(' ', 1)[1]) for line in text.splitlines()
             if line.startswith('BMOE_PROGRESS ')]
    if len(steps) < 2:
        raise ValueError('no progress lines')
    seconds = sum(s['wall_ms'] for s in steps[1:]) / 1000
    return {'decode_s': seconds, 'decode_tokens': len(steps) - 1,
            'decode_tok_s': (len(steps) - 1) / seconds,
            'decode_hit_rate': steps[-1]['cache_hit_pct'] / 100,
            'prefill_tokens': None, 'prefill_tok_s': None}


def find_llama():
    """Our program over llama.cpp's C interface, compiled where that lies; None
    where there is no llama.cpp."""
    root = common.peers_dir() + '/llama.cpp'
    libs = root + '/build/bin'
    if not os.path.exists(libs + '/libllama.so'):
        return None
    program = common.peers_dir() + '/bin/peer_llama'
    os.makedirs(os.path.dirname(program), exist_ok=True)
    done = subprocess.run(
        [os.environ.get('CC', 'cc'), '-O2', os.path.join(HERE, 'peer_llama.c'),
         '-o', program, f'-I{root}/include', f'-I{root}/ggml/include',
         f'-L{libs}', f'-Wl,-rpath,{libs}', '-lllama', '-lggml',
         '-lggml-base'], capture_output=True, text=True, check=False)
    if done.returncode:
        common.fail('peer_llama.c does not compile against '
                    f'{root}: {done.stderr.strip().splitlines()[0]}')
    return program


def find_bmoe():
    """BigMoeOnEdge, or None."""
    program = common.peers_dir() + '/bin/bmoe-cli'
    return program if os.access(program, os.X_OK) else None
