#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""show, plan, doctor, perplexity, completion and the manual page, through the
program: what they print, how they fail, and that files cannot make them lie to
a terminal."""
import csv
import io
import json
import math
import os
import re
import resource
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
import pst_e2e as e2e  # noqa: E402

LOGITS = os.path.join(e2e.DATA, 'logits')
QUANTS = os.path.join(e2e.DATA, 'quants')
BAD = os.path.join(e2e.DATA, 'gguf-bad')
DENSE = os.path.join(LOGITS, 'llama', 'model.gguf')
MOE = os.path.join(LOGITS, 'q-qwen3moe-Q4_K', 'model.gguf')
SPLIT = os.path.join(LOGITS, 'qwen3moe-split', 'model-00001-of-00003.gguf')
MANUAL = os.path.join(e2e.SRC, 'Documentation', 'penstock.1')

# Tensor types of the format: id and bytes of 512 weights.
TYPES = {'F16': (1, 1024), 'BF16': (30, 1024), 'Q4_0': (2, 288),
         'Q4_1': (3, 320), 'Q5_0': (6, 352), 'Q5_1': (7, 384),
         'Q8_0': (8, 544), 'Q2_K': (10, 168), 'Q3_K': (11, 220),
         'Q4_K': (12, 288), 'Q5_K': (13, 352), 'Q6_K': (14, 420),
         'IQ4_NL': (20, 288), 'IQ4_XS': (23, 272), 'MXFP4': (39, 272)}
I32 = 26


def models():
    for _, folder, case in e2e.cases(LOGITS):
        yield os.path.join(folder, case['files'][0])


def text(b):
    return struct.pack('<Q', len(b)) + b


def write_gguf(path, strings, tensors):
    """strings: [(key, value)] in bytes; tensors: [(name, dims, type, data)]."""
    head = b'GGUF' + struct.pack('<IQQ', 3, len(tensors), len(strings))
    for key, value in strings:
        head += text(key) + struct.pack('<I', 8) + text(value)
    data = b''
    for name, dims, ttype, raw in tensors:
        head += text(name) + struct.pack('<I', len(dims))
        head += struct.pack(f'<{len(dims)}QIQ', *dims, ttype, len(data))
        data += raw + bytes(-len(raw) % 32)
    with open(path, 'wb') as f:
        f.write(head + bytes(-len(head) % 32) + data)


def read(path):
    with open(path, 'rb') as f:
        return f.read()


class Base(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.tmp = folder.name

    def path(self, name):
        return os.path.join(self.tmp, name)

    def penstock(self, *args, status=0, **kw):
        done = e2e.run(*args, **kw)
        self.assertEqual(done.returncode, status,
                         (args, done.stdout[-500:], done.stderr))
        if status:
            self.assertTrue(done.stderr.startswith(b'penstock: '))
        return done.stdout

    def json(self, schema, *args, **kw):
        got = json.loads(self.penstock(*args, '-o', 'json', **kw))
        self.assertEqual(got['schema'], schema)
        return got

    def csv(self, *args, **kw):
        rows = list(csv.reader(io.StringIO(
            self.penstock(*args, '-o', 'csv', **kw).decode())))
        self.assertEqual({len(r) for r in rows}, {len(rows[0])}, rows)
        return rows


class Show(Base):
    def show(self, model, *args):
        return self.json('penstock.show.1', 'show', model, *args)

    def test_sizes_of_every_model_add_up(self):
        for model in models():
            s = self.show(model, '--tensors')
            sizes = s['sizes']
            self.assertTrue(s['general']['supported'], model)
            self.assertEqual(sizes['all_tensors_bytes'],
                             sizes['trunk_bytes'] + sizes['experts_bytes'])
            self.assertEqual(sizes['all_tensors_bytes'],
                             sum(t['bytes'] for t in s['types']))
            self.assertEqual(sizes['all_tensors_bytes'],
                             sum(t['size_bytes'] for t in s['tensors']))
            self.assertEqual(s['general']['files_bytes'],
                             sum(f['size_bytes'] for f in s['files']))
            self.assertEqual(len(s['files']), s['general']['parts'])
            for f in s['files']:
                self.assertEqual(f['size_bytes'], os.path.getsize(f['path']))

    def test_experts_are_counted_and_sized(self):
        s = self.show(SPLIT)
        self.assertEqual(s['general']['parts'], 3)
        self.assertEqual(s['sizes']['experts_in_all_layers'], 36)
        self.assertEqual(s['sizes']['smallest_expert_bytes'] * 36,
                         s['sizes']['experts_bytes'])
        self.assertNotIn('experts_in_all_layers', self.show(DENSE)['sizes'])

    def test_full_gives_every_element_of_an_array(self):
        def tokens(*args):
            return next(m for m in self.show(MOE, *args)['metadata']
                        if m['key'] == 'tokenizer.ggml.tokens')
        self.assertLess(len(tokens()['value']), tokens()['count'])
        self.assertEqual(len(tokens('--full')['value']), tokens()['count'])

    def test_csv_has_one_shape(self):
        rows = self.csv('show', MOE)
        self.assertEqual(rows[0], ['section', 'name', 'value'])
        self.assertIn(['general', 'architecture', 'qwen3moe'], rows)
        rows = self.csv('show', MOE, '--tensors')
        nr = self.show(MOE)['sizes']['tensors']
        self.assertEqual(len(rows), nr + 1)
        self.assertEqual(rows[0][:3], ['name', 'type', 'shape'])

    def test_text_names_what_people_look_for(self):
        out = self.penstock('show', MOE, '--tensors').decode()
        for word in ('qwen3moe', 'Q4_K_M', 'blk.1.ffn_down_exps.weight',
                     'tokenizer.ggml.tokens', '256 x 256 x 4'):
            self.assertIn(word, out)

    def test_f32_of_an_f32_tensor_is_its_bytes(self):
        for t in self.show(SPLIT, '--tensors')['tensors']:
            if t['type'] != 'F32':
                continue
            out = self.path('f32')
            self.penstock('show', SPLIT, '--tensor', t['name'], '--f32', out)
            part = SPLIT.replace('00001-of', f'{t["file"] + 1:05d}-of')
            raw = read(part)[t['offset_bytes']:][:t['size_bytes']]
            self.assertEqual(read(out), raw, t['name'])
            self.assertEqual(raw, self.penstock(
                'show', SPLIT, '--tensor', t['name'], '--f32', '-'))

    def test_every_type_dequantises_to_the_reference(self):
        model, out = self.path('m.gguf'), self.path('out')
        for name, (ttype, row) in TYPES.items():
            raw = read(os.path.join(QUANTS, name + '.bin'))
            self.assertEqual(len(raw), 5 * row, name)
            # Longer than what is converted at a time.
            raw *= 30
            write_gguf(model, [], [(b't', (512, 150), ttype, raw)])
            self.penstock('show', model, '--tensor', 't', '--f32', out)
            want = read(os.path.join(QUANTS, name + '.f32')) * 30
            self.assertEqual(read(out), want, name)

    def test_a_type_without_values_leaves_an_existing_file_alone(self):
        model, out = self.path('m.gguf'), self.path('out')
        write_gguf(model, [], [(b'ids', (4,), I32, bytes(16))])
        with open(out, 'w') as f:
            f.write('kept')
        self.penstock('show', model, '--tensor', 'ids', '--f32', out,
                      status=69)
        self.assertEqual(read(out), b'kept')
        self.assertEqual(self.show(model)['types'][0]['type'], 'I32')

    def test_what_is_missing_is_66(self):
        self.penstock('show', self.path('none'), status=66)
        self.penstock('show', MOE, '--tensor', 'none', status=66)

    def test_usage_errors_are_2(self):
        self.penstock('show', status=2)
        self.penstock('show', MOE, '--f32', self.path('x'), status=2)
        self.penstock('show', MOE, '-o', 'md', status=2)
        self.penstock('show', MOE, '--ram', '1G', status=2)

    def test_a_result_that_cannot_be_written_whole_is_removed(self):
        out = self.path('out')
        self.penstock('show', DENSE, '--tensor', 'token_embd.weight', '--f32',
                      out, status=74, preexec_fn=lambda: resource.setrlimit(
                          resource.RLIMIT_FSIZE, (4096, 4096)))
        self.assertFalse(os.path.exists(out))
        self.penstock('show', DENSE, '--tensor', 'token_embd.weight', '--f32',
                      self.path('no/folder'), status=74)

    def test_a_full_device_is_not_removed(self):
        link = self.path('full')
        os.symlink('/dev/full', link)
        self.penstock('show', DENSE, '--tensor', 'token_embd.weight', '--f32',
                      link, status=74)
        self.assertTrue(os.path.islink(link))

    def test_damaged_files_are_refused_or_shown_as_unsupported(self):
        with open(os.path.join(BAD, 'index.json')) as f:
            index = json.load(f)
        seen = set()
        for entry in index:
            done = e2e.run('show', os.path.join(BAD, entry['file']),
                           '--tensors', '--full', '-o', 'json')
            self.assertIn(done.returncode, (0, 65), (entry, done.stderr))
            seen.add(done.returncode)
            if done.returncode:
                self.assertEqual(done.stdout, b'', entry)
                continue
            s = json.loads(done.stdout)
            if entry['must_be_refused']:
                self.assertFalse(s['general']['supported'], entry)
                self.assertTrue(s['general']['unsupported_because'], entry)
        self.assertEqual(seen, {0, 65})
        self.penstock('show', os.path.join(BAD, '000-valid-control.gguf'))

    def test_nothing_in_a_file_can_steer_the_terminal(self):
        evil = (b'\x1b[31m\x07\x7f\r\nA\xc2\x9b31m\xe2\x80\xae\xff\xfe"\\,'
                b'\xe2\x81\xa6\xe2\x80\xa8')
        model = self.path('m.gguf')
        write_gguf(model, [(b'general.architecture', evil),
                           (b'general.name', evil), (b'k' + evil, evil),
                           (b'tokenizer.chat_template', b'{{ x }}\n' * 99)],
                   [(b't' + evil[:40], (4,), 0, bytes(16))])
        for form in ('text', 'json', 'csv'):
            for more in ((), ('--full',), ('--tensors',)):
                done = e2e.run('show', model, '-o', form, *more)
                self.assertEqual(done.returncode, 0, done.stderr)
                for s in (done.stdout.decode(), done.stderr.decode()):
                    self.assertFalse(re.search(
                        '[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f'
                        '\u2028-\u202e\u2066-\u2069]', s), (form, more, s))
        self.csv('show', model)
        s = self.show(model, '--tensors', '--full')
        self.assertEqual(s['metadata'][1]['value'],
                         evil.replace(b'\xff\xfe', '\ufffd\ufffd'.encode())
                         .decode())
        self.assertTrue(s['model']['chat_template'])


class Plan(Base):
    def plan(self, *args, **kw):
        return self.json('penstock.plan.1', 'plan', *args, **kw)

    def test_the_sum_is_the_sum(self):
        for model in models():
            m = self.plan(model)['memory']
            self.assertTrue(m['fits'])
            self.assertEqual(m['sum_bytes'], sum(
                m[k + '_bytes'] for k in ('trunk', 'kv', 'scratch', 'process',
                                          'expert_cache')))
            self.assertLessEqual(m['sum_bytes'], m['ceiling_bytes'])

    def test_an_empty_cache_reads_every_chosen_expert(self):
        p = self.plan(SPLIT, '--expert-cache', '20experts')
        e = p['experts']
        self.assertEqual((e['total'], e['used_per_token'], e['resident']),
                         (36, 9, 20))
        every = e['expert_files_bytes'] * 9 / 36
        self.assertAlmostEqual(p['empty_cache']['drive_bytes_per_token'],
                               every)
        self.assertAlmostEqual(p['empty_cache']['max_tok_s_per_GB_s'],
                               1e9 / every, delta=1e9 / every * 1e-6)
        half = p['every_expert_equally_likely']
        self.assertAlmostEqual(half['drive_bytes_per_token'],
                               every * (1 - 20 / 36), delta=1e-3)
        self.assertEqual(p['all_in_memory']['drive_bytes_per_token'], 0)

    def test_a_cache_below_one_token_promises_no_hits(self):
        p = self.plan(SPLIT, '--expert-cache', '5experts')
        self.assertNotIn('every_expert_equally_likely', p)
        out = self.penstock('plan', SPLIT, '--expert-cache', '5experts')
        self.assertIn(b'one token uses 9', out)

    def test_keys_and_values_are_counted_in_their_type(self):
        f32, f16, q8_0 = (self.plan(
            DENSE, '-c', 200000, '--kv-type',
            kv)['memory']['kv_bytes'] for kv in ('f32', 'f16', 'q8_0'))
        self.assertAlmostEqual(f16 / f32, 1 / 2, delta=0.015)
        self.assertAlmostEqual(q8_0 / f32, 17 / 64, delta=0.015)

    def test_finer_activations_are_counted_as_scratch(self):
        q8, q16 = (self.plan(MOE, '-b', 2048, '-c', 2048, '--activations',
                             how)['memory']['scratch_bytes']
                   for how in ('q8', 'q16'))
        self.assertGreater(q16, q8)

    def test_only_latent_attention_can_be_decompressed(self):
        for verb in ('plan', 'bench'):
            done = e2e.run(verb, MOE, '--mla', 'decompressed')
            self.assertEqual(done.returncode, 2)
            self.assertIn(b'has no latent attention', done.stderr)
        self.plan(MOE, '--mla', 'absorbed')

    def test_rows_that_are_no_multiple_of_a_block_cannot_be_q8_0(self):
        narrow = os.path.join(BAD, '000-valid-control.gguf')
        self.plan(narrow, '--kv-type', 'f16')
        for verb in ('plan', 'bench'):
            done = e2e.run(verb, narrow, '--kv-type', 'q8_0')
            self.assertEqual(done.returncode, 2)
            self.assertIn(b'a row of block 0 has 16 numbers, which is no '
                          b'multiple of 32: take --kv-type f16', done.stderr)

    def test_a_dense_model_has_no_experts(self):
        self.assertNotIn('experts', self.plan(DENSE))

    def test_mapped_files_need_no_slots(self):
        p = self.plan(MOE, '--io', 'mmap')
        self.assertNotIn('resident', p['experts'])
        self.assertEqual(p['memory']['expert_cache_bytes'], 0)

    def test_what_does_not_fit_is_71_and_1_with_check(self):
        p = self.plan(MOE, '--ram', '8M', status=71)
        self.assertFalse(p['memory']['fits'])
        p = self.plan(MOE, '--ram', '8M', '--check', status=1)
        self.assertEqual(p['memory']['ceiling_bytes'], 8 << 20)
        self.penstock('plan', MOE, '--check')

    def test_errors_have_their_codes(self):
        self.penstock('plan', self.path('none'), '--check', status=66)
        self.penstock('plan', os.path.join(BAD, '004-trunc-16.gguf'),
                      '--check', status=65)
        self.penstock('plan', MOE, '--ram', 'much', status=2)
        self.penstock('plan', MOE, '--expert-cache', '1experts', status=2)

    def test_csv_has_one_shape(self):
        self.assertIn(['memory', 'fits', 'true'], self.csv('plan', MOE))


class Doctor(Base):
    def test_every_check_has_a_verdict(self):
        for path in (self.tmp, MOE):
            done = e2e.run('doctor', path, '-o', 'json')
            got = json.loads(done.stdout)
            self.assertEqual(got['schema'], 'penstock.doctor.1')
            names = [c['check'] for c in got['checks']]
            self.assertEqual(len(names), len(set(names)))
            for name in ('model', 'kernel', 'cpu', 'numa', 'memory', 'cgroup',
                         'pressure', 'huge-pages', 'memlock', 'io_uring',
                         'o_direct', 'drive', 'queue', 'link', 'drives',
                         'profile', 'module', 'gpu'):
                self.assertIn(name, names)
            for c in got['checks']:
                self.assertIn(c['status'], ('ok', 'warn', 'fail'))
                self.assertTrue(c['finding'], c)
                if c['status'] == 'ok':
                    self.assertEqual(c['mend'], '', c)
            failed = any(c['status'] == 'fail' for c in got['checks'])
            self.assertEqual(done.returncode, 69 if failed else 0)

    def finding(self, path, status):
        done = e2e.run('doctor', path, '-o', 'json')
        got, = [c for c in json.loads(done.stdout)['checks']
                if c['check'] == 'model']
        self.assertEqual(got['status'], status, got)
        if status == 'fail':
            self.assertEqual(done.returncode, 69)
        return got['finding']

    def test_a_model_is_whole_or_told_what_it_lacks(self):
        self.assertIn('none', self.finding(self.tmp, 'ok'))
        self.assertIn('in 3 files, whole', self.finding(SPLIT, 'ok'))
        self.assertIn('not a GGUF', self.finding(__file__, 'warn'))
        cut = self.path('cut.gguf')
        with open(cut, 'wb') as f:
            f.write(read(MOE)[:-4096])
        self.assertIn(f'it has {os.path.getsize(cut)} bytes of the '
                      f'{os.path.getsize(MOE)}', self.finding(cut, 'fail'))
        write_gguf(self.path('odd.gguf'), [(b'general.architecture', b'odd')],
                   [])
        self.assertIn("'odd'", self.finding(self.path('odd.gguf'), 'fail'))

    def test_it_leaves_nothing_behind(self):
        e2e.run('doctor', self.tmp)
        self.assertEqual(os.listdir(self.tmp), [])
        e2e.run('doctor', cwd=self.tmp)
        self.assertEqual(os.listdir(self.tmp), [])

    def test_an_empty_file_can_be_examined(self):
        with open(self.path('empty'), 'w'):
            pass
        self.csv('doctor', self.path('empty'))

    def test_a_file_that_cannot_be_read_is_a_failure(self):
        fifo = self.path('fifo')
        os.mkfifo(fifo)
        done = e2e.run('doctor', fifo, timeout=60)
        self.assertEqual(done.returncode, 69)
        self.assertRegex(done.stdout.decode(), '(?m)^fail  o_direct')

    def test_a_missing_path_is_66(self):
        self.penstock('doctor', self.path('none'), status=66)


WORDS = 'the token stream of a model\nand more of it, again and again. '


class Perplexity(Base):
    def ppl(self, *args, **kw):
        return self.json('penstock.perplexity.1', 'perplexity', *args, **kw)

    def write(self, s):
        path = self.path('text')
        with open(path, 'w') as f:
            f.write(s)
        return path

    def reference(self, model, path, window):
        """The same figure from the ids and the logits of every window."""
        ids = json.loads(self.penstock('tokenize', model, '--no-special',
                                       '-f', path))
        plain = json.loads(self.penstock('tokenize', model, '--no-special',
                                         '--no-bos', '-f', path))
        bos = ids[0] if len(ids) > len(plain) else None
        first = 0 if len(ids) < window else window // 2
        window = min(window, len(ids))
        nll = []
        for at in range(0, len(ids) - window + 1, window):
            part = ids[at:at + window]
            start = ([bos] if bos is not None else part[:1]) + part[1:]
            raw = self.penstock('logits', model, '--tokens',
                                ','.join(map(str, start)))
            n = len(raw) // 4 // window
            for i in range(first, window - 1):
                row = struct.unpack(f'<{n}f', raw[i * n * 4:(i + 1) * n * 4])
                top = max(row)
                total = math.fsum(math.exp(v - top) for v in row)
                nll.append(math.log(total) + top - row[part[i + 1]])
        mean = math.fsum(nll) / len(nll)
        var = math.fsum(v * v for v in nll) / len(nll) - mean * mean
        return (math.exp(mean), math.exp(mean) * math.sqrt(
            var / (len(nll) - 1)), len(nll), len(ids))

    def check(self, model, path, window):
        got = self.ppl(model, '-f', path, '-c', window)
        ppl, err, nr, nr_ids = self.reference(model, path, window)
        self.assertEqual((got['scored_tokens'], got['tokens']), (nr, nr_ids))
        self.assertLess(abs(got['perplexity'] / ppl - 1), 1e-6)
        self.assertLess(abs(got['stderr'] / err - 1), 1e-5)
        return got

    def test_windows_are_scored_in_their_second_half(self):
        path = self.write(WORDS * 5)
        for model in (DENSE, MOE):
            got = self.check(model, path, 32)
            self.assertGreater(got['windows'], 2)
            self.assertEqual(got['scored_tokens'], got['windows'] * 15)
            self.assertEqual(got['unused_tokens'],
                             got['tokens'] - 32 * got['windows'])

    def test_a_short_text_is_scored_whole(self):
        got = self.check(DENSE, self.write('a few words'), 512)
        self.assertEqual(got['scored_tokens'], got['tokens'] - 1)

    def test_stdin_is_the_same_as_a_file(self):
        path = self.write(WORDS)
        a = self.ppl(DENSE, '-f', path)
        b = self.ppl(DENSE, input=WORDS.encode())
        self.assertEqual(a['perplexity'], b['perplexity'])
        self.assertIn(b'perplexity %.4f' % a['perplexity'],
                      self.penstock('perplexity', DENSE, '-f', path))
        self.assertEqual(len(self.csv('perplexity', DENSE, '-f', path)), 2)

    def test_progress_is_told(self):
        done = e2e.run('perplexity', DENSE, '-f', self.write(WORDS * 20),
                       '-c', 64, '--progress', 'json')
        lines = [json.loads(s) for s in done.stderr.splitlines()
                 if s.startswith(b'{')]
        last = [s for s in lines if s['stage'] == 'perplexity'][-1]
        self.assertEqual(last['done'], last['all'])

    def test_what_cannot_be_scored_is_refused(self):
        self.penstock('perplexity', MOE, '-f', self.write(''), status=1)
        self.penstock('perplexity', MOE, '-f', self.path('none'), status=66)
        self.penstock('perplexity', self.path('none'), '-f',
                      self.write('text'), status=66)
        self.penstock('perplexity', DENSE, '-f', self.write(WORDS), '-c', 1,
                      status=1)


class Completion(Base):
    def test_each_script_is_valid_for_its_shell(self):
        for shell in ('bash', 'zsh', 'fish'):
            script = self.path(shell)
            with open(script, 'wb') as f:
                f.write(self.penstock('completion', shell))
            if shutil.which(shell):
                subprocess.run([shell, '-n', script], check=True)

    def bash(self, *words):
        script = self.path('bash')
        with open(script, 'wb') as f:
            f.write(self.penstock('completion', 'bash'))
        line = ' '.join(f"'{w}'" for w in ('penstock',) + words)
        done = subprocess.run(
            ['bash', '-c', f'. {script}; COMP_WORDS=({line}); '
             f'COMP_CWORD={len(words)}; _penstock; echo "${{COMPREPLY[@]}}"'],
            stdout=subprocess.PIPE, check=True)
        return done.stdout.decode().split()

    def test_bash_offers_verbs_options_and_choices(self):
        self.assertEqual(self.bash('pl'), ['plan'])
        self.assertEqual(self.bash('show', '--te'), ['--tensors', '--tensor'])
        self.assertEqual(self.bash('plan', '--io', ''),
                         ['auto', 'uring', 'pread', 'mmap'])
        self.assertEqual(self.bash('completion', 'z'), ['zsh'])
        self.assertEqual(self.bash('show', DENSE[:-1]), [DENSE])

    def test_another_shell_is_a_usage_error(self):
        self.penstock('completion', 'tcsh', status=2)


class Manual(Base):
    def verbs(self):
        return re.findall(r'(?m)^  ([a-z]+) ', self.penstock('help').decode())

    def test_it_has_every_verb_and_every_option(self):
        with open(MANUAL) as f:
            page = f.read()
        verbs = self.verbs()
        self.assertGreater(len(verbs), 8)
        for verb in verbs:
            self.assertTrue(re.search(rf'(?m)^\.It Ic {verb}\b', page),
                            f'{verb} is not in the manual')
            options = re.findall(r'(?m)^  (?:-(\w), |    )--([\w-]+)',
                                 self.penstock('help', verb).decode())
            self.assertTrue(options, verb)
            for letter, name in options:
                item = rf'Fl {letter} , Fl -{name}' if letter else \
                    rf'Fl -{name}'
                self.assertTrue(re.search(rf'(?m)^\.It {item}( |$)', page),
                                f'{verb} --{name} is not in the manual')

    def test_it_names_no_option_that_is_not_there(self):
        known = set()
        for verb in self.verbs():
            known |= set(re.findall(r'--([\w-]+)',
                                    self.penstock('help', verb).decode()))
        with open(MANUAL) as f:
            for name in re.findall(r'Fl -([\w-]+)', f.read()):
                self.assertIn(name, known)

    def test_it_gives_an_option_the_choices_that_the_help_gives(self):
        with open(MANUAL) as f:
            page = f.read()
        for verb in self.verbs():
            for name, arg in re.findall(r'--([\w-]+) ([\w|]+\|\w+)',
                                        self.penstock('help', verb).decode()):
                told = {c for line in re.findall(
                    rf'(?m)^\.It .*Fl -{name} (.*)$', page)
                    for c in re.findall(r'(?:Cm|Ar) (\S+)', line)}
                for choice in arg.split('|'):
                    if f'{verb} {name} {choice}' != 'bench output md':
                        self.assertIn(choice, told, (verb, name))

    def test_mandoc_finds_no_fault(self):
        if not shutil.which('mandoc'):
            self.skipTest('mandoc is not installed')
        done = subprocess.run(['mandoc', '-Tlint', '-W', 'warning', MANUAL],
                              capture_output=True, text=True, check=False)
        self.assertEqual((done.returncode, done.stdout), (0, ''))


if __name__ == '__main__':
    if not os.access(e2e.PROGRAM, os.X_OK):
        e2e.skip(f'{e2e.PROGRAM} is not built')
    unittest.main()
