#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""PENSTOCK_CPU narrows the kernels: the logits are those of --cpu, which comes
before it; doctor says so; and what the processor does not have is refused."""
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
import pst_e2e as e2e  # noqa: E402

MODEL = os.path.join(e2e.SRC, 'share', 'tiny-stories.gguf')
TOKENS = '1,17,300,42,1000,7,256,90'
LEVELS = ('c', 'avx2', 'avxvnni', 'avx512', 'vnni', 'neon', 'dotprod')
NAMES = {'vnni': 'avx512-vnni', 'avxvnni': 'avx-vnni'}
# An emulated processor that has less than this one.
SMALLER = (platform.machine() == 'x86_64' and 'PENSTOCK_TOOL' not in os.environ
           and shutil.which('qemu-x86_64'))


def environment(level):
    env = {k: v for k, v in os.environ.items() if k != 'PENSTOCK_CPU'}
    return env if level is None else dict(env, PENSTOCK_CPU=level)


def penstock(*args, cpu=None):
    return e2e.run(*args, env=environment(cpu))


def logits(*options, cpu=None):
    with tempfile.NamedTemporaryFile() as out:
        done = penstock('logits', MODEL, '--tokens', TOKENS, '--out', out.name,
                        *options, cpu=cpu)
        if done.returncode:
            raise AssertionError(done.stderr.decode(errors='replace'))
        with open(out.name, 'rb') as f:
            return f.read()


def doctor_cpu(cpu=None):
    got = json.loads(penstock('doctor', e2e.DATA, '-o', 'json',
                              cpu=cpu).stdout)
    return next(c for c in got['checks'] if c['check'] == 'cpu')


def levels_here():
    refused = penstock('logits', MODEL, '--tokens', '1', cpu='nothing')
    named = re.search(rb'this processor has ([a-z0-9, ]+);', refused.stderr)
    return named.group(1).decode().split(', ')


class CpuEnv(unittest.TestCase):
    def test_a_level_computes_as_the_option_does(self):
        here = levels_here()
        self.assertEqual(here[0], 'c')
        for level in here:
            self.assertEqual(logits(cpu=level), logits('--cpu', level), level)

    def test_the_widest_level_is_what_nothing_gives(self):
        here = levels_here()
        self.assertEqual(logits(cpu=here[-1]), logits())
        self.assertEqual(logits(cpu=''), logits())
        if len(here) > 1:
            self.assertNotEqual(logits(cpu='c'), logits())

    def test_the_option_comes_before_it(self):
        self.assertEqual(logits('--cpu', 'c', cpu=levels_here()[-1]),
                         logits(cpu='c'))
        self.assertEqual(logits('--cpu', 'c', cpu='nothing'), logits(cpu='c'))

    def test_what_is_not_there_is_refused(self):
        here = levels_here()
        for level in ('nothing', 'AVX2', 'avx2 ', '7',
                      *(x for x in LEVELS if x not in here)):
            done = penstock('logits', MODEL, '--tokens', '1', cpu=level)
            self.assertEqual(done.returncode, 2, level)
            self.assertIn(('PENSTOCK_CPU \'%s\'' % level).encode(),
                          done.stderr)
            self.assertEqual(done.stdout, b'')
            got = doctor_cpu(level)
            self.assertEqual(got['status'], 'fail', got)
            self.assertIn(', '.join(here), got['mend'])

    @unittest.skipUnless(SMALLER, 'needs qemu-x86_64')
    def test_the_option_refuses_what_is_not_there(self):
        for level in ('avx512', 'vnni', 'avxvnni'):
            done = subprocess.run(
                [SMALLER, '-cpu', 'Haswell', e2e.PROGRAM, 'logits', MODEL,
                 '--tokens', '1', '--cpu', level], capture_output=True,
                env=environment(None), check=False)
            self.assertEqual(done.returncode, 2, done.stderr)
            self.assertIn(b'--cpu %s: this processor has c, avx2; name one'
                          % level.encode(), done.stderr)
            self.assertEqual(done.stdout, b'')

    def test_doctor_names_the_table_in_use(self):
        here = levels_here()
        for level in here:
            got = doctor_cpu(level)
            self.assertRegex(got['finding'],
                             r'kernels: %s \(\S+\), by PENSTOCK_CPU' %
                             NAMES.get(level, level))
            widest = level == here[-1]
            self.assertEqual(got['status'], 'ok' if widest else 'warn', got)
            self.assertEqual(not got['mend'], widest)
        self.assertNotIn('PENSTOCK_CPU', doctor_cpu()['finding'])

    def test_help_and_verbs_without_a_model_do_not_look_at_it(self):
        self.assertEqual(penstock('run', '--help', cpu='nothing').returncode,
                         0)
        self.assertEqual(penstock('show', MODEL, cpu='nothing').returncode, 0)


if __name__ == '__main__':
    unittest.main()
