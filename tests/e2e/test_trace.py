#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""trace replay through the program: forms of the result, the figures of a
trace that can be counted by hand, and what is refused."""
import csv
import io
import json
import os
import sys
import unittest

sys.dont_write_bytecode = True
import pst_e2e as e2e  # noqa: E402

SMALL = os.path.join(e2e.DATA, 'traces', 'small.csv')
POLICIES = ('adaptive', 'cycle', 'lru', 'lfu', 's3fifo')
RECORDED = os.path.join(e2e.SRC, '..', 'shared', 'traces')


class Replay(unittest.TestCase):
    def replay(self, *args, status=0, trace=SMALL):
        done = e2e.run('trace', 'replay', trace, *args)
        self.assertEqual(done.returncode, status, (args, done.stderr))
        if status:
            self.assertEqual(done.stdout, b'')
            self.assertTrue(done.stderr.startswith(b'penstock: '))
            self.assertEqual(done.stderr.count(b'\n'), 1)
        return done.stdout.decode() if not status else done.stderr.decode()

    def results(self, *args, trace=SMALL):
        got = json.loads(self.replay('-o', 'json', *args, trace=trace))
        self.assertEqual(got['schema'], 'penstock.trace.replay.1')
        return got['results']

    def test_the_figures_are_those_counted_by_hand(self):
        lru, best = self.results('--expert-cache', '3experts',
                                 '--cache-policy', 'lru,min')
        self.assertEqual((lru['policy'], lru['capacity_experts']), ('lru', 3))
        self.assertEqual((lru['hits'], lru['misses']), (1, 7))
        self.assertAlmostEqual(lru['hit_rate'], 1 / 8)
        self.assertEqual(lru['bytes_read'], 3400)
        self.assertEqual(best['policy'], 'min')
        self.assertLess(best['misses'], 7)
        self.assertEqual(lru['min_hit_rate'], best['hit_rate'])

    def test_every_policy_at_every_capacity_in_the_order_asked_for(self):
        names = list(POLICIES) + ['default', 'min']
        got = self.results('--expert-cache', '100%,4experts,1100',
                           '--cache-policy', ','.join(names))
        self.assertEqual([(r['policy'], r['capacity_experts']) for r in got],
                         [(n, c) for c in (8, 4, 1) for n in names])
        for r in got:
            self.assertLessEqual(r['hit_rate'], r['min_hit_rate'])
            self.assertEqual(r['hits'] + r['misses'], 8)

    def test_default_is_what_run_uses(self):
        got, = self.results('--cache-policy', 'default', '--expert-cache',
                            '50%')
        said = e2e.run('help', 'run').stdout.decode()
        self.assertIn(got['object'] + ' (default)', said)

    def test_text_and_csv_hold_the_same(self):
        args = ('--expert-cache', '25%,50%', '--cache-policy', 'lru,min')
        rows = list(csv.DictReader(io.StringIO(
            self.replay('-o', 'csv', *args))))
        self.assertEqual([(r['policy'], int(r['misses'])) for r in rows],
                         [(r['policy'], r['misses'])
                          for r in self.results(*args)])
        self.assertEqual(len(self.replay(*args).splitlines()), 5)

    def test_a_replay_repeats_itself(self):
        args = ('-o', 'json', '--expert-cache', '50%')
        self.assertEqual(self.replay(*args), self.replay(*args))

    def test_the_default_shares_of_a_tiny_trace_are_an_expert_at_least(self):
        # 5, 10 and 20 % of its eight experts are all less than two.
        self.assertEqual([r['capacity_experts'] for r in self.results()],
                         [1, 1, 1])
        self.assertEqual([r['policy'] for r in self.results()],
                         ['lru', 'default', 'min'])

    def test_bad_lists_are_refused(self):
        for cache in ('0%', '0', '1%', '101%', '-5%', 'x', '', ',', '5',
                      '0experts', '5%,x', '5%x', ','.join(['50%'] * 40)):
            self.replay('--expert-cache', cache, status=2)
        for policy in ('', ',', 'belady', 'LRU', 'lru,x\x1b[2J'):
            said = self.replay('--cache-policy', policy, '--expert-cache',
                               '50%', status=2)
            self.assertIn('--cache-policy', said)
            self.assertNotIn('\x1b', said)

    def test_verbs_of_trace_are_checked(self):
        for args in (['trace'], ['trace', 'replay'], ['trace', 'x', SMALL],
                     ['trace', 'replay', SMALL, SMALL]):
            self.assertEqual(e2e.run(*args).returncode, 2, args)

    def test_bad_traces_end_in_words(self):
        self.assertIn('line 1', self.replay(trace=__file__, status=65))
        self.replay(trace='/dev/null', status=65)
        self.replay(trace=SMALL + '.not', status=66)

    def test_recorded_traces(self):
        """Policies on real routing: none beats MIN, adaptive beats LRU."""
        traces = [os.path.join(RECORDED, f) for f in
                  ('qwen3-30b-a3b.csv', 'gemma-4-26b-a4b.csv')]
        if not all(map(os.path.exists, traces)):
            self.skipTest(RECORDED + ' is not there')
        for trace in traces:
            for r in self.results('--expert-cache', '2%,5%,10%,20%,50%',
                                  '--cache-policy', 'default', trace=trace):
                self.assertLess(r['hit_rate'], r['min_hit_rate'])
                self.assertGreater(r['hit_rate'], r['lru_hit_rate'])
                if r['capacity_experts'] < 1500:
                    self.assertGreater(r['gap_closed'], 0.2)


if __name__ == '__main__':
    if not os.access(e2e.PROGRAM, os.X_OK):
        e2e.skip(f'{e2e.PROGRAM} is not built')
    unittest.main()
