#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""trace record, forced routing, reports and their pages, through the program:
what is written can be read again, sums add up, and files do not get past the
page's text."""
import html.parser
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
import pst_e2e as e2e  # noqa: E402

MAKER = os.path.join(e2e.SRC, 'scripts', 'make-random-model')
SMALL = os.path.join(e2e.DATA, 'traces', 'small.csv')
DENSE = os.path.join(e2e.DATA, 'logits', 'llama', 'model.gguf')
PARTS = ('wait_ns', 'attention_ns', 'experts_ns', 'logits_ns', 'rest_ns',
         'copy_ns')
# Geometry of make-random-model --tiny.
LAYERS, EXPERTS, USED = 3, 16, 4
CACHE = ('--expert-cache', '20experts', '--prefetch', 'off')


class Base(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.model = os.path.join(cls.folder.name, 'tiny.gguf')
        subprocess.run([MAKER, cls.model, '--tiny'], check=True,
                       capture_output=True)
        # No profile of this machine's drives, and none left behind.
        os.environ['PENSTOCK_STATE'] = os.path.join(cls.folder.name, 'state')

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def path(self, name):
        return os.path.join(self.folder.name, name)

    def penstock(self, *args, status=0, **kw):
        done = e2e.run(*args, **kw)
        self.assertEqual(done.returncode, status,
                         (args, done.stdout[-300:], done.stderr[-600:]))
        return done

    def record(self, name, *args):
        path = self.path(name)
        self.penstock('trace', 'record', self.model, 'ab cd ef', '--raw',
                      '-n', '12', '--temp', '0', '-o', path, *CACHE, *args)
        return path

    def read(self, path):
        with open(path, encoding='ascii') as f:
            return f.read().splitlines()


class Record(Base):
    def rows(self, path):
        lines = [l for l in self.read(path) if not l.startswith('#')]
        self.assertEqual(lines[0], 'phase,token,layer,rank,expert,weight')
        return [l.split(',') for l in lines[1:]]

    def test_every_token_layer_and_rank_is_there(self):
        path = self.record('plain.csv')
        self.assertEqual(self.read(path)[0], '# penstock-route-trace 1')
        rows = self.rows(path)
        tokens = 1 + max(int(r[1]) for r in rows)
        self.assertEqual(
            {(int(r[1]), int(r[2]), int(r[3])) for r in rows},
            {(t, l, k) for t in range(tokens) for l in range(LAYERS)
             for k in range(USED)})
        prompt = {int(r[1]) for r in rows if r[0] == 'prefill'}
        self.assertEqual(prompt, set(range(len(prompt))))
        self.assertLess(len(prompt), tokens)

    def test_probs_and_timing_add_records_and_leave_the_rows(self):
        plain = self.rows(self.record('a.csv'))
        path = self.record('b.csv', '--probs', '--timing')
        self.assertEqual(self.rows(path), plain)
        lines = self.read(path)
        self.assertEqual(lines[0], '# penstock-route-trace 2')
        probs = [l for l in lines if l.startswith('#p,')]
        self.assertEqual(len(probs), len(plain) // USED)
        self.assertEqual({len(l) for l in probs}, {3 + 2 * EXPERTS})

    def test_recorded_probabilities_rank_as_the_router_did(self):
        digits = ('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'
                  '0123456789+/')
        taken = []
        for line in self.read(self.record('p.csv', '--probs')):
            if line.startswith('#p,'):
                text = line[3:]
                code = [digits.index(text[i]) * 64 + digits.index(text[i + 1])
                        for i in range(0, len(text), 2)]
                worst = max(code[e] for e in taken)
                others = [c for e, c in enumerate(code) if e not in taken]
                self.assertLessEqual(worst, min(others))
                self.assertAlmostEqual(
                    sum(2 ** (-c / 64) for c in code), 1.0, delta=0.02)
                taken = []
            elif line[0] in 'pd' and line[-1].isdigit():
                taken.append(int(line.split(',')[4]))

    def test_times_of_layers_fit_into_their_pass(self):
        layers = 0
        for line in self.read(self.record('t.csv', '--timing')):
            v = line.split(',')
            if v[0] == '#io':
                total, wait, attention, experts = map(int, v[4:8])
                self.assertLessEqual(wait + attention + experts, total)
                layers += total
            elif v[0] == '#pass':
                self.assertLessEqual(layers + int(v[4]), int(v[3]))
                layers = 0

    def test_both_forms_replay_alike(self):
        got = [self.penstock('trace', 'replay', self.record(n, *extra),
                             '-o', 'json', '--cache-policy', 'lru,min',
                             '--expert-cache', '8experts,50%').stdout
               for n, extra in (('r1.csv', ()),
                                ('r2.csv', ('--probs', '--timing')))]
        self.assertEqual(got[0], got[1])

    def test_stdout_takes_the_trace_alone(self):
        done = self.penstock('trace', 'record', self.model, 'ab', '--raw',
                             '-n', '3', '--temp', '0', '-o', '-', *CACHE)
        self.assertTrue(done.stdout.startswith(b'# penstock-route-trace 1\n'))
        self.assertTrue(done.stdout.rstrip(b'\n').rsplit(b'\n', 1)[1]
                        .startswith(b'decode,'))

    def test_what_cannot_be_recorded_is_refused(self):
        out = self.path('no.csv')
        self.penstock('trace', 'record', self.model, 'ab', status=2)
        self.penstock('trace', 'record', DENSE, 'ab', '-o', out, status=69)
        self.assertFalse(os.path.exists(out))
        self.penstock('trace', 'record', self.model + '.not', 'ab', '-o', out,
                      status=66)
        self.assertFalse(os.path.exists(out))

    def test_a_full_disk_leaves_no_part(self):
        out = self.path('full.csv')

        def small():
            resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))
        done = self.penstock('trace', 'record', self.model, 'ab cd', '--raw',
                             '-n', '200', '--temp', '0', '-o', out, *CACHE, status=74,
                             preexec_fn=small)
        self.assertIn(b'cannot write', done.stderr)
        self.assertFalse(os.path.exists(out))


class Forced(Base):
    def bench(self, *args, status=0):
        done = self.penstock('bench', self.model, '-o', 'json', *CACHE, *args,
                             status=status)
        return done if status else json.loads(done.stdout)['results'][0]

    def test_a_run_takes_as_many_experts_as_the_trace_has(self):
        path = self.record('f.csv')
        rows = [l for l in self.read(path) if l.startswith('decode')]
        report = self.path('f.json')
        got = self.bench('--routing', path, '--report=json', '--report-file',
                         report)
        self.assertEqual(got['decode_tokens'], len(rows) // USED // LAYERS)
        with open(report) as f:
            r = json.load(f)
        self.assertEqual(r['decode']['hits'] + r['decode']['misses'],
                         len(rows))
        # And the very same ones: the use of every expert agrees.
        want = [[0] * EXPERTS for _ in range(LAYERS)]
        for line in self.read(path):
            if line[0] in 'pd' and line[-1].isdigit():
                _, _, layer, _, expert, _ = line.split(',')
                want[int(layer)][int(expert)] += 1
        self.assertEqual(r['use'], want)

    def test_lru_hits_what_the_replay_says(self):
        path = self.record('l.csv')
        got = self.bench('--routing', path, '--cache-policy', 'lru',
                         '--batch-size', '1')
        said = json.loads(self.penstock(
            'trace', 'replay', path, '-o', 'json', '--cache-policy', 'lru',
            '--expert-cache', f'{got["slots"]}experts').stdout)
        # The prompt came token by token here, in the trace layer by layer:
        # what is resident when decode begins may differ by the last layer's.
        said = said['results'][0]
        wanted = said['hits'] + said['misses']
        self.assertAlmostEqual(got['decode_hit_rate'], said['hit_rate'],
                               delta=20 / wanted)

    def test_ways_to_read_agree_to_the_bit(self):
        self.bench('--routing', self.record('b.csv'), '--against',
                   'pread,mmap,resident')

    def test_another_geometry_is_mapped_and_said(self):
        done = self.penstock('bench', self.model, '-o', 'json', *CACHE,
                             '--routing', SMALL)
        self.assertIn(b'modulo', done.stderr)
        self.assertIn(b'2 are taken', done.stderr)

    def test_bad_routings_are_refused(self):
        bad = self.path('bad.csv')
        with open(SMALL, encoding='ascii') as f:
            text = f.read()
        for cut in (text.rfind(','), 200, 30, 0):
            with open(bad, 'w', encoding='ascii') as f:
                f.write(text[:cut])
            done = self.bench('--routing', bad, status=65)
            self.assertIn(b'line ', done.stderr)
        self.bench('--routing', bad + '.not', status=66)
        self.penstock('bench', DENSE, '--routing', SMALL, status=69)


class Report(Base):
    def report(self, *args):
        path = self.path('report.json')
        self.penstock('run', self.model, 'ab cd ef', '--raw', '-n', '10',
                      '--temp', '0', '--report=json', '--report-file', path,
                      *args)
        with open(path) as f:
            return json.load(f)

    def check_times(self, t):
        self.assertEqual(sum(t[p] for p in PARTS), t['total_ns'])
        self.assertLessEqual(t['wait_ns'] + t['attention_ns']
                             + t['experts_ns'], t['total_ns'])
        self.assertEqual(t['copy_ns'], 0)

    def test_sums_add_up(self):
        r = self.report(*CACHE)
        self.assertEqual(r['schema'], 'penstock.report.1')
        for phase in ('prefill', 'decode'):
            self.check_times(r[phase])
            passes = [p for p in r['passes'] if p['phase'] == phase]
            for key in ('total_ns', 'wait_ns', 'experts_ns', 'hits', 'misses',
                        'demand_bytes', 'tokens'):
                self.assertEqual(sum(p[key] for p in passes), r[phase][key])
        for p in r['passes']:
            self.check_times(p)
        for key in ('wait_ns', 'hits', 'misses'):
            self.assertEqual(sum(l[key] for l in r['layers']),
                             r['decode'][key])
        d = r['decode']
        self.assertEqual(d['hits'] + d['misses'],
                         d['tokens'] * LAYERS * USED)
        self.assertEqual(d['cache_bytes'] + d['prefetch_used_bytes'],
                         d['hit_bytes'])
        # Whole blocks are read, so never less than what was missed.
        self.assertGreaterEqual(d['read_bytes'], d['demand_bytes'])
        self.assertEqual(sum(map(sum, r['use'])),
                         (r['prefill']['tokens'] + d['tokens'])
                         * LAYERS * USED)

    def test_guesses_are_counted_for_every_layer(self):
        r = self.report('--expert-cache', '20experts', '--prefetch', 'next')
        for l in r['layers']:
            self.assertEqual(l['guess_wanted'], r['decode']['tokens'] * USED)
            self.assertLessEqual(l['guessed_right'], l['guessed'])
            self.assertLessEqual(l['guessed_right'], l['guess_wanted'])
            self.assertLessEqual(l['ahead_used'], l['ahead_reads'])
        self.assertGreater(sum(l['ahead_reads'] for l in r['layers']), 0)
        for l in self.report(*CACHE)['layers']:
            self.assertEqual((l['guess_wanted'], l['ahead_reads']), (0, 0))

    def test_a_predictor_that_knows_all_is_never_wrong(self):
        path = self.path('known.json')
        trace = self.record('known.csv')
        self.penstock('bench', self.model, '--expert-cache', '20experts',
                      '--prefetch', 'next', '--routing', trace,
                      '--routing-recall', '1', '--report=json',
                      '--report-file', path)
        with open(path) as f:
            layers = json.load(f)['layers']
        self.assertGreater(sum(l['guessed'] for l in layers), 0)
        for l in layers:
            self.assertEqual(l['guessed_right'], l['guessed'])

    def test_what_a_text_repeats_is_read_ahead_without_a_router(self):
        path = self.path('again.json')
        trace = self.record('again.csv')
        self.penstock('bench', self.model, '--expert-cache', '20experts',
                      '--prefetch', 'next', '--routing', trace,
                      '-g', '120', '--report=json', '--report-file', path)
        with open(path) as f:
            layers = json.load(f)['layers']
        guessed = sum(l['guessed'] for l in layers)
        self.assertGreater(guessed, 0)
        self.assertGreater(sum(l['guessed_right'] for l in layers),
                           0.7 * guessed)
        self.assertGreater(sum(l['ahead_used'] for l in layers), 0)

    def test_every_token_of_a_bench_is_told(self):
        for mode in ('next', 'off'):
            r = json.loads(self.penstock(
                'bench', self.model, '--expert-cache', '20experts',
                '--prefetch', mode, '-g', '17', '-r', '3', '-o',
                'json').stdout)['results'][0]
            self.assertEqual(len(r['token_s']), 17)
            self.assertAlmostEqual(sum(r['token_s']), r['decode_s'], 2)
            missed = round((1 - r['decode_hit_rate']) * 17 * LAYERS * USED)
            self.assertEqual(sum(r['token_needed_experts']),
                             missed + r['prefetch_used'])
            self.assertLessEqual(max(r['token_needed_experts']), LAYERS * USED)

    def test_more_of_anything_is_never_predicted_to_be_slower(self):
        r = self.report(*CACHE)
        self.assertIn('cores x 2', [g['what'] for g in r['gains']])
        for g in r['gains']:
            self.assertGreater(g['factor'], 0.9, g)
        for c in r['capacities']:
            self.assertLessEqual(c['policy_hits'], c['wanted'])
            self.assertLessEqual(c['min_hits'], c['wanted'])

    def test_modes_without_slots_and_dense_models_have_reports(self):
        for args in (('--io', 'mmap'), ('--resident',)):
            r = self.report(*args)
            self.check_times(r['decode'])
            self.assertEqual(r['decode']['misses'], 0)
        done = self.penstock('run', DENSE, 'a', '--raw', '-n', '3',
                             '--report')
        self.assertIn(b'limit: ', done.stderr)
        self.assertNotIn(b'expert bytes', done.stderr)

    def test_text_names_time_bytes_and_limit(self):
        done = self.penstock('run', self.model, 'ab', '--raw', '-n', '4',
                             '--report', *CACHE)
        for word in (b'waiting for the drive', b'read on demand', b'limit: ',
                     b'copying', b'cores x 2'):
            self.assertIn(word, done.stderr)
            self.assertNotIn(word, done.stdout)

    def test_text_has_precision_recall_and_use_of_guesses(self):
        done = self.penstock('run', self.model, 'ab', '--raw', '-n', '8',
                             '--temp', '0', '--report', '--expert-cache',
                             '20experts', '--prefetch', 'next')
        rows = re.findall(r'^  (layer|precision|recall|used) ((?: +[\d-]+)+)$',
                          done.stderr.decode(), re.M)
        self.assertEqual([r[0] for r in rows],
                         ['layer', 'precision', 'recall', 'used'])
        for _, cells in rows:
            self.assertEqual(len(cells.split()), LAYERS)

    def test_only_text_and_json(self):
        self.penstock('run', self.model, 'a', '--report=xml', status=2)


class Expected(Base):
    def lines(self, *args):
        done = self.penstock('run', self.model, 'ab cd ef ' * 40, '--raw',
                             '-n', '2', '--temp', '0', '--progress', 'json',
                             '--batch-size', '50', *CACHE, *args)
        return [json.loads(l) for l in done.stderr.decode().splitlines()
                if l.startswith('{')], done.stderr.decode()

    def test_the_time_of_a_prompt_is_told_before_it_is_read(self):
        said, err = self.lines()
        kinds = [l['schema'] for l in said]
        at = kinds.index('penstock.estimate.1')
        x, after = said[at], [l for l in said[at:]
                              if l.get('stage') == 'reading prompt']
        self.assertEqual(kinds.count('penstock.estimate.1'), 1)
        self.assertTrue(after)
        self.assertFalse([l for l in said[:at]
                          if l.get('stage') == 'reading prompt'])
        tokens = int(re.search(r'prompt (\d+) tok', err)[1])
        self.assertEqual((x['tokens'], x['passes']),
                         (tokens, -(-tokens // 50)))
        self.assertGreater(x['drive_bytes'], 0)
        self.assertGreater(x['compute_s'], 0)
        # Rounded to milliseconds each; the longer of both in each pass.
        self.assertGreaterEqual(x['total_s'] + 0.002,
                                max(x['drive_s'], x['compute_s']))
        done = [l['done'] for l in after]
        self.assertEqual(done, sorted(done))
        self.assertEqual((done[-1], after[-1]['all']), (tokens, tokens))


class Tags(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.seen, self.words = [], [], ''

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, attrs))
        if tag not in ('meta',):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append((tag, attrs))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, tag

    def handle_data(self, data):
        self.words += data


class Page(Base):
    def page(self, path, status=0):
        done = self.penstock('trace', 'report', path, status=status)
        if status:
            self.assertEqual(done.stdout, b'')
            self.assertEqual(done.stderr.count(b'\n'), 1)
            return done.stderr
        text = done.stdout.decode()
        tags = Tags()
        tags.feed(text)
        self.assertEqual(tags.open, [])
        # Self-contained: nothing is fetched, nothing is run.
        for tag, attrs in tags.seen:
            self.assertNotIn(tag, ('script', 'link', 'img', 'iframe'))
            for name, value in attrs:
                self.assertFalse(name.startswith('on'), (tag, name))
                self.assertNotIn(name, ('src', 'href'))
                self.assertNotRegex(value or '', 'url|nan|inf')
        self.assertNotRegex(text, r'https?:')
        return tags.words

    def test_a_trace_becomes_a_page(self):
        for trace in (SMALL, self.record('h.csv'),
                      self.record('h2.csv', '--timing', '--probs')):
            words = self.page(trace)
            for title in ('Use of experts', 'Hit rate over time',
                          'Misses by cache size', 'min'):
                self.assertIn(title, words)
        self.assertIn('Time of each token', words)
        self.assertIn('Time of each layer', words)
        self.assertEqual(len(re.findall(r'layer \d+: [\d.]+ ms', words)),
                         LAYERS)

    def test_a_report_becomes_a_page(self):
        path = self.path('h.json')
        self.penstock('run', self.model, 'ab cd', '--raw', '-n', '10',
                      '--report=json', '--report-file', path, *CACHE)
        words = self.page(path)
        for title in ('Time of each token', 'Time of each layer',
                      'What would help',
                      'Expert bytes by source', 'Use of experts', 'limit'):
            self.assertIn(title, words)
        self.assertEqual(len(re.findall(r'layer \d+: [\d.]+ ms', words)),
                         LAYERS)

    def write(self, name, text):
        path = self.path(name)
        with open(path, 'w', encoding='utf-8') as f:
            f.write(text)
        return path

    def test_text_of_files_stays_text(self):
        evil = '</title><script>alert(1)</script>"\'&'
        with open(SMALL, encoding='ascii') as f:
            trace = f.read()
        path = self.write('e.csv', trace.replace(
            'model=small', 'model=' + evil.replace(' ', '')))
        self.assertIn('<script>', self.page(path))
        report = {'schema': 'penstock.report.1', 'model': evil,
                  'policy': evil, 'limit': evil, 'io': evil, 'kernels': evil,
                  'gains': [{'what': evil, 'tok_s': 1, 'factor': 1}],
                  'experts': 4, 'capacities': [
                      {'slots': 1, 'wanted': 2, 'policy_hits': 1,
                       'lru_hits': 1, 'min_hits': 1}] * 3}
        words = self.page(self.write('e.json', json.dumps(report)))
        self.assertGreaterEqual(words.count('<script>'), 5)

    def test_hostile_reports_are_refused_or_drawn(self):
        for text in ('{', '{}', '{"schema": 3}', '{"schema":"x"}', '[' * 4000,
                     '{"schema":"penstock.report.1"', '{"a":1,"a":2}'):
            self.page(self.write('x.json', text),
                      status=65)
        head = '{"schema":"penstock.report.1",'
        for text in ('"model":7}', '"use":[[1,2],3,[-1,"a",1e9]]}',
                     '"use":[[],[]]}',
                     '"layers":[{"wait_ns":1e308,"passes":-1},3,null,[]]}',
                     '"layers":{"wait_ns":1}}', '"passes":[{"phase":"decode"},3,null]}',
                     '"passes":[{"phase":"decode","wait_ns":1e308,'
                     '"hits":-5,"misses":1e300}]}',
                     '"experts":1e-300,"capacities":[{"slots":1e308,'
                     '"wanted":1}]}', '"gains":{"what":1}}'):
            self.page(self.write('y.json', head + text))
        self.page(self.write('w.json', head + '"layers":['
                             + ','.join(['{}'] * 2000) + ']}'), status=65)
        self.page(self.write('z.json', head + '"use":['
                             + ','.join(['[1]'] * 2000) + ']}'), status=65)

    def test_missing_files_and_bad_traces(self):
        self.page(self.path('nothing'), status=66)
        self.assertIn(b'line 1', self.page(__file__, status=65))


class Probes(unittest.TestCase):
    # What Documentation/tracing.rst says of their arguments.
    ARGUMENTS = {'token': 2, 'layer': 2, 'route': 3, 'hit': 2, 'miss': 2,
                 'submit': 4, 'complete': 3, 'evict': 2}

    def test_probe_points_are_in_a_program_built_with_them(self):
        options = os.path.join(e2e.BUILD, 'compile_commands.json')
        with open(options, encoding='utf-8') as f:
            if '-DPST_HAVE_SDT' not in f.read():
                self.skipTest('built without <sys/sdt.h>')
        notes = subprocess.run(['readelf', '-n', e2e.PROGRAM], check=True,
                               capture_output=True, text=True).stdout
        found = {name: len(arguments.split()) for name, arguments in re.findall(
            r'Provider: penstock\n\s+Name: (\w+)\n\s+Location: .*\n'
            r'\s+Arguments: (.*)', notes)}
        self.assertEqual(found, self.ARGUMENTS)
        scripts = os.path.join(e2e.SRC, 'scripts')
        for script in ('read-latency.bt', 'hit-miss.bt'):
            with open(os.path.join(scripts, script), encoding='ascii') as f:
                blocks = re.findall(r'penstock:(\w+)\n\{(.*?)^\}', f.read(),
                                    re.M | re.S)
            self.assertTrue(blocks)
            for name, body in blocks:
                for n in re.findall(r'\barg(\d)\b', body):
                    self.assertLess(int(n), found[name], (script, name))


if __name__ == '__main__':
    if not os.access(e2e.PROGRAM, os.X_OK):
        e2e.skip(f'{e2e.PROGRAM} is not built')
    unittest.main()
