#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""iobench through the program: forms of the result, temporary files, the stored
profile and what doctor says of it, and what is refused.  Nothing here depends
on how fast the drive is."""
import csv
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
import pst_e2e as e2e  # noqa: E402

MIB = 1 << 20
QUICK = ('--seconds', '0.3', '--progress', 'never')


class IoBench(unittest.TestCase):
    def setUp(self):
        self.tmp = tempfile.mkdtemp(prefix='pst-iobench-', dir=e2e.BUILD)
        self.state = os.path.join(self.tmp, 'state')
        self.env = dict(os.environ, PENSTOCK_STATE=self.state)
        self.file = os.path.join(self.tmp, 'file')
        with open(self.file, 'wb') as f:
            f.write(os.urandom(2 * MIB))
            f.flush()
            os.fsync(f.fileno())

    def tearDown(self):
        shutil.rmtree(self.tmp)

    def bench(self, *args, status=0, **kw):
        kw.setdefault('env', self.env)
        done = e2e.run('iobench', *args, **kw)
        self.assertEqual(done.returncode, status, (args, done.stderr))
        if status:
            self.assertEqual(done.stdout, b'')
            self.assertIn(b'penstock: ', done.stderr)
        return (done.stderr if status else done.stdout).decode()

    def json(self, *args, **kw):
        got = json.loads(self.bench(*args, '-o', 'json', **kw))
        self.assertEqual(got['schema'], 'penstock.iobench.1')
        return got

    def test_a_list_of_points_is_measured(self):
        got = self.json(self.file, '--size', '1M,64K,64K', '--depth', '2,1',
                        *QUICK)
        self.assertEqual([(r['size_bytes'], r['depth'])
                          for r in got['results']],
                         [(65536, 1), (65536, 2), (MIB, 1), (MIB, 2)])
        for r in got['results']:
            self.assertGreaterEqual(r['reads'], r['depth'])
            self.assertGreater(r['bandwidth_bytes_s'], 0)
            self.assertLessEqual(r['p50_s'], r['p99_s'])
            self.assertLessEqual(r['low_bytes_s'], r['bandwidth_bytes_s'])
            self.assertLessEqual(r['bandwidth_bytes_s'], r['high_bytes_s'])
        self.assertEqual(got['file_bytes'], 2 * MIB)
        self.assertEqual(got['hole_bytes'], 0)
        self.assertFalse(got['stored'])
        self.assertTrue(got['why_not_stored'])
        self.assertIn((got['knee']['size_bytes'], got['knee']['depth']),
                      [(r['size_bytes'], r['depth']) for r in got['results']])

    def test_text_and_csv_have_the_same_points(self):
        args = (self.file, '--size', '64K', '--depth', '1,4', *QUICK)
        rows = list(csv.DictReader(io.StringIO(
            self.bench(*args, '-o', 'csv'))))
        self.assertEqual([(r['size_bytes'], r['depth']) for r in rows],
                         [('65536', '1'), ('65536', '4')])
        self.assertEqual([r['knee'] for r in rows].count('true'), 1)
        text = self.bench(*args)
        self.assertEqual(text.count('<- knee'), 1)
        self.assertIn('64.00 KiB      4', text)
        self.assertIn('profile not stored: only some', text)

    def test_every_way_of_reading(self):
        for args in (('--io', 'uring'), ('--io', 'pread'),
                     ('--direct', 'off'), ('--huge-pages', 'thp'),
                     ('--huge-pages', 'off')):
            done = e2e.run('iobench', self.file, '--size', '64K', '--depth',
                           '4', *QUICK, '-o', 'json', *args, env=self.env)
            if args == ('--io', 'uring') and done.returncode in (69, 77):
                continue
            self.assertEqual(done.returncode, 0, (args, done.stderr))
            got = json.loads(done.stdout)
            self.assertIn(args[1] if args[1] == 'pread' else '', got['io'])
            if args == ('--direct', 'off'):
                self.assertFalse(got['direct'])
                self.assertIn('buffered', got['io'])

    def test_modes_are_compared_at_the_knee(self):
        args = (self.file, '--size', '64K', '--depth', '4', *QUICK)
        got = self.json(*args)
        modes = {m['io_mode']: m for m in got['modes']}
        self.assertEqual(list(modes), ['irq', 'sqpoll', 'iopoll'])
        self.assertGreater(modes['irq']['bandwidth_bytes_s'], 0)
        self.assertNotIn('refused', modes[got['io_mode']])
        for m in modes.values():
            self.assertTrue(m.get('refused') or
                            (m['size_bytes'], m['depth']) == (65536, 4), m)
        text = self.bench(*args)
        self.assertEqual(text.count('<- to be used'), 1)
        for name in modes:
            self.assertRegex(text, rf'(?m)^(modes)? *{name}  ')
        # Page cache and drive poll differently: the cache not at all.
        got = self.json(*args, '--direct', 'off')
        self.assertIn('O_DIRECT', got['modes'][2]['refused'])
        # Who names one compares nothing.
        for mode in ('irq', 'sqpoll'):
            if 'refused' in modes[mode]:
                continue
            got = self.json(*args, '--io-mode', mode)
            self.assertEqual((got['io_mode'], got['modes']), (mode, []))
            self.assertEqual('sqpoll' in got['io'], mode == 'sqpoll')
        self.assertEqual(self.json(*args, '--io', 'pread')['modes'], [])
        self.bench(*args, '--io', 'pread', '--io-mode', 'sqpoll', status=2)
        self.bench(*args, '--io-mode', 'iopoll', '--direct', 'off', status=69)
        self.bench(*args, '--io-mode', 'poll', status=2)

    def test_a_model_is_read_in_pieces_of_its_experts(self):
        model = os.path.join(self.tmp, 'moe.gguf')
        subprocess.run([os.path.join(e2e.SRC, 'scripts', 'make-random-model'),
                        model, '--small'], check=True, capture_output=True)
        got = self.json(model, *QUICK)
        ours = {r['size_bytes'] for r in got['results'] if r['expert']}
        self.assertTrue(ours)
        self.assertTrue(all(s % 4096 == 0 for s in ours))
        self.assertLessEqual(got['knee']['size_bytes'], max(ours))

    def test_what_is_longer_than_the_file_is_left_out(self):
        got = self.json(self.file, '--depth', '1', *QUICK)
        self.assertEqual(max(r['size_bytes'] for r in got['results']),
                         2 * MIB)

    def test_holes_are_said(self):
        with open(self.file, 'wb') as f:
            f.write(b'x')
            f.truncate(8 * MIB)
        with open(self.file, 'rb') as f:
            if os.lseek(f.fileno(), 0, os.SEEK_HOLE) == 8 * MIB:
                self.skipTest('this file system keeps no holes')
        got = self.json(self.file, '--size', '64K', '--depth', '1', *QUICK)
        self.assertGreater(got['hole_bytes'], 7 * MIB)

    def test_the_fio_job_names_the_same_reads(self):
        job = self.bench(self.file, '--size', '64K,1M', '--depth', '4',
                         '--print-fio', '--seed', '9')
        for line in ('filename=' + self.file, 'rw=randread', 'direct=1',
                     'randseed=9', 'ioengine=io_uring', 'fixedbufs=1',
                     'iomem=mmaphuge', 'bs=65536', 'bs=1048576', 'iodepth=4',
                     '[64k-depth-4]'):
            self.assertIn(line + '\n', job)
        if shutil.which('fio'):
            path = os.path.join(self.tmp, 'job.fio')
            with open(path, 'w') as f:
                f.write(job)
            done = subprocess.run(['fio', '--parse-only', path],
                                  capture_output=True, text=True)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertNotIn('Bad option', done.stderr)
        job = self.bench(self.tmp, '--print-fio', '--io', 'pread')
        self.assertIn('directory=' + self.tmp + '\n', job)
        self.assertIn('ioengine=psync\n', job)
        self.assertEqual(sorted(os.listdir(self.tmp))[0], 'file')
        self.bench(self.file, '--print-fio', '-o', 'json', status=2)
        self.bench(self.file, '--print-fio', '--size', '4M', status=65)

    def test_bad_options_are_refused(self):
        for args in (('--size', '5000'), ('--size', '512M'), ('--size', ''),
                     ('--size', '64K,x'), ('--size', '0'), ('--depth', '0'),
                     ('--depth', '1025'), ('--depth', '-1'),
                     ('--depth', ','), ('--seconds', '0'),
                     ('--seconds', '4000'), ('--io', 'mmap'),
                     ('--size', ','.join(f'{4 * i}K'
                                         for i in range(1, 20)))):
            self.bench(self.file, *args, status=2)
        self.bench(self.file, '--io-fault', 'nonsense', *QUICK, status=2)

    def test_bad_files_are_refused(self):
        self.bench(os.path.join(self.tmp, 'none'), status=66)
        self.bench(os.path.join(self.file, 'below'), status=71)
        empty = os.path.join(self.tmp, 'empty')
        with open(empty, 'wb'):
            pass
        self.assertIn('empty', self.bench(empty, status=65))
        with open(empty, 'wb') as f:
            f.write(b'x' * 5000)
        self.assertIn('less than one read', self.bench(empty, status=65))
        fifo = os.path.join(self.tmp, 'fifo')
        os.mkfifo(fifo)
        self.bench(fifo, status=2, timeout=60)
        self.bench('/dev/null', status=2)
        self.bench(self.file, '--size', '256M', '--depth', '1024', *QUICK,
                   status=65)

    def test_a_read_error_is_told_with_its_place(self):
        said = self.bench(self.file, '--io-fault', 'eio_after=5', '--size',
                          '64K', '--depth', '2', *QUICK, status=74)
        self.assertRegex(said, r'file: a read of 65536 bytes failed: .* '
                               r'\(at byte \d+\)')

    def test_no_o_direct_is_said(self):
        said = e2e.run('iobench', self.file, '--direct', 'off', '--size',
                       '64K', '--depth', '1', *QUICK, env=self.env)
        self.assertIn(b'through the page cache', said.stdout)

    def test_a_folder_without_room_is_refused(self):
        if os.geteuid():
            self.skipTest('mounting needs root')
        small = os.path.join(self.tmp, 'small')
        os.mkdir(small)
        if subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=64m', 'tmpfs',
                           small], capture_output=True).returncode:
            self.skipTest('mounting is not allowed here')
        try:
            said = self.bench(small, status=74)
            self.assertIn('64.00 MiB free', said)
            self.assertEqual(os.listdir(small), [])
        finally:
            subprocess.run(['umount', small], check=True)

    def test_a_temporary_file_that_cannot_be_written(self):
        def limit():
            import resource
            resource.setrlimit(resource.RLIMIT_FSIZE, (16 * MIB, 16 * MIB))

        said = self.bench(self.tmp, status=74, preexec_fn=limit)
        self.assertIn('cannot be written past 16.00 MiB', said)
        self.assertEqual(sorted(os.listdir(self.tmp)), ['file'])

    def test_a_folder_that_may_not_be_written(self):
        said = self.bench('/proc/self', status=74)
        self.assertIn('/proc/self', said)

    def test_an_interrupted_run_leaves_nothing(self):
        if shutil.disk_usage(self.tmp).free < 2 << 30:
            self.skipTest('less than 2 GiB free')
        with subprocess.Popen([e2e.PROGRAM, 'iobench', self.tmp],
                              stderr=subprocess.PIPE, env=self.env) as p:
            self.assertIn(b'temporary file', p.stderr.readline())
            p.send_signal(signal.SIGINT)
            self.assertEqual(p.wait(60), -signal.SIGINT)
        self.assertEqual(sorted(os.listdir(self.tmp)), ['file'])

    def profile(self, check='profile'):
        done = e2e.run('doctor', self.tmp, '-o', 'json', env=self.env)
        got, = [c for c in json.loads(done.stdout)['checks']
                if c['check'] == check]
        return got

    def test_a_profile_is_stored_and_shown(self):
        if shutil.disk_usage(self.tmp).free < 1 << 30:
            self.skipTest('less than 1 GiB free')
        got = self.profile()
        self.assertEqual(got['status'], 'warn')
        self.assertIn('iobench', got['mend'])
        with open(self.file, 'wb') as f:
            for _ in range(32):
                f.write(os.urandom(8 * MIB))
            f.flush()
            os.fsync(f.fileno())
        got = self.json(self.file, '--seconds', '5', '--progress', 'never')
        if not got['stored']:
            self.assertIn('page cache', got['why_not_stored'])
            self.skipTest('O_DIRECT does not work in ' + self.tmp)
        shown = self.profile()
        self.assertEqual(shown['status'], 'ok')
        self.assertIn(f"{got['knee']['depth']} reads of ", shown['finding'])
        self.check_mode(got['io_mode'])
        self.check_use()
        self.check_damage()
        # A state that cannot be written is a notice, not a failure.
        blocked = dict(self.env, PENSTOCK_STATE=os.path.join(self.file, 'x'))
        done = e2e.run('iobench', self.file, '--seconds', '5', '--progress',
                       'never', '-o', 'csv', env=blocked)
        self.assertEqual(done.returncode, 0)
        self.assertIn(b'profile not stored: ', done.stderr)

    def set_line(self, key, value):
        name, = os.listdir(self.state)
        path = os.path.join(self.state, name)
        with open(path, encoding='ascii') as f:
            text = f.read()
        with open(path, 'w', encoding='ascii') as f:
            f.write(re.sub(rf'(?m)^{key}=\w+$', f'{key}={value}', text))

    def set_bandwidth(self, bps):
        self.set_line('bandwidth_bps', bps)

    def check_mode(self, found):
        """A run reads as the profile says, unless it is told otherwise."""
        said = self.profile('io-mode')['finding']
        self.assertTrue(said.startswith(found + ': iobench found irq '), said)
        model = os.path.join(self.tmp, 'moe.gguf')
        subprocess.run([os.path.join(e2e.SRC, 'scripts', 'make-random-model'),
                        model, '--tiny'], check=True, capture_output=True)
        for line, args, polls in (('irq', (), False), ('sqpoll', (), True),
                                  ('sqpoll', ('--io-mode', 'irq'), False),
                                  ('irq', ('--io-mode', 'sqpoll'), True),
                                  ('sqpoll', ('--io', 'pread'), False)):
            self.set_line('io_mode', line)
            done = e2e.run('bench', model, '-p', '4', '-g', '1',
                           '--expert-cache', '50%', '-o', 'json', *args,
                           env=self.env)
            self.assertEqual(done.returncode, 0, done.stderr)
            # In the name of what reads, or in the notice that it is refused.
            self.assertEqual('sqpoll' in done.stderr.decode(), polls,
                             (line, args, done.stderr))
        self.set_line('io_mode', found)

    def expect(self, model):
        """What a run says of its prompt before it reads it."""
        done = e2e.run('run', model, 'ab cd ' * 900, '--raw', '-n', '1',
                       '--expert-cache', '8experts', '--warm', 'off',
                       '--progress', 'json', env=self.env)
        self.assertEqual(done.returncode, 0, done.stderr)
        said = [json.loads(l) for l in done.stderr.decode().splitlines()
                if l.startswith('{')]
        got, = [l for l in said if l['schema'] == 'penstock.estimate.1']
        return got

    def check_use(self):
        """What the profile says is what plan reckons with."""
        model = os.path.join(self.tmp, 'moe.gguf')
        subprocess.run([os.path.join(e2e.SRC, 'scripts', 'make-random-model'),
                        model, '--tiny', '--ctx', '4096'], check=True,
                       capture_output=True)
        self.set_bandwidth(10**12)
        fast = self.expect(model)
        self.set_bandwidth(100000)
        slow = self.expect(model)
        # Fewer passes over the experts are worth a longer batch then.
        self.assertLess(slow['passes'], fast['passes'])
        self.assertAlmostEqual(slow['drive_s'], slow['drive_bytes'] / 1e5,
                               delta=0.001)
        self.set_bandwidth(123456789)
        done = e2e.run('plan', model, '-o', 'json', env=self.env)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(
            json.loads(done.stdout)['machine']['drive_bytes_per_s'],
            123456789)

    def check_damage(self):
        name, = os.listdir(self.state)
        with open(os.path.join(self.state, name), 'r+b') as f:
            f.write(b'garbage')
        got = self.profile()
        self.assertEqual(got['status'], 'warn')
        self.assertIn('damaged', got['finding'])


if __name__ == '__main__':
    if not os.access(e2e.PROGRAM, os.X_OK):
        e2e.skip(f'{e2e.PROGRAM} is not built')
    unittest.main()
