#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What somebody does wrong who uses the program for the first time, and what it
answers: the object, the cause, the number and the next step, in one line, with
the right exit status."""
import json
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
import unittest

sys.dont_write_bytecode = True
import pst_e2e as e2e  # noqa: E402

MODEL = os.path.join(e2e.SRC, 'share', 'tiny-stories.gguf')
SPLIT = os.path.join(e2e.DATA, 'logits', 'qwen3moe-split')


class FirstSteps(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.tmp = folder.name

    def path(self, name, data=None):
        full = os.path.join(self.tmp, name)
        if data is not None:
            with open(full, 'wb') as f:
                f.write(data)
        return full

    def fails(self, status, words, *args, **kw):
        """One line on stderr, with these words, and nothing on stdout."""
        p = e2e.run(*args, **kw)
        said = p.stderr.decode(errors='replace')
        self.assertEqual(p.returncode, status, said)
        self.assertEqual(p.stdout or b'', b'')
        self.assertEqual(len(said.splitlines()), 1, said)
        self.assertTrue(said.startswith('penstock: '), said)
        for w in [words] if isinstance(words, str) else words:
            self.assertIn(w, said)


class Models(FirstSteps):
    def test_a_download_that_broke_off_tells_how_much_is_missing(self):
        with open(MODEL, 'rb') as f:
            part = self.path('part.gguf', f.read(3000000))
        for verb in ('run', 'plan', 'show', 'bench'):
            self.fails(65, ('part.gguf', ' 3000000 bytes of the '
                            f'{os.path.getsize(MODEL)} ', 'again'), verb, part,
                       *(['hi'] if verb == 'run' else []))

    def test_an_unknown_family_is_unsupported_and_not_damaged(self):
        with open(MODEL, 'rb') as f:
            other = self.path('m', f.read().replace(b'qwen3moe', b'qwen9moe'))
        for verb in ('run', 'plan'):
            self.fails(69, ("'qwen9moe'", 'qwen3moe'), verb, other,
                       *(['hi'] if verb == 'run' else []))

    def test_a_folder_is_not_a_model(self):
        self.fails(65, ('a folder', 'GGUF file'), 'run', self.tmp, 'hi')

    def test_a_text_is_not_a_model(self):
        self.fails(65, 'not a GGUF file', 'run',
                   self.path('x', b'<!DOCTYPE html>' + bytes(100)), 'hi')

    def test_the_missing_part_of_a_split_model_is_named(self):
        names = sorted(n for n in os.listdir(SPLIT) if n.endswith('.gguf'))
        for n in names[:-1]:
            os.symlink(os.path.join(SPLIT, n), self.path(n))
        self.fails(65, (names[-1], 'missing'), 'run', self.path(names[0]), 'hi')


class Options(FirstSteps):
    def test_no_model_is_said_in_so_many_words(self):
        self.fails(2, ('no MODEL is given', 'usage'), 'run')
        self.fails(2, 'no SHELL is given', 'completion')

    def test_a_prompt_without_quotes_is_recognised(self):
        self.fails(2, ("'a' is one too many", 'quote'), 'run', MODEL,
                   'tell', 'a', 'story')

    def test_a_prompt_that_is_given_twice_is_refused(self):
        self.fails(2, ('given twice', '--file', 'leave one out'), 'run', MODEL,
                   'hi', '-f', self.path('text', b'hello'))

    def test_a_missing_value_is_not_called_an_unknown_option(self):
        self.fails(2, ('without its value', "'--ram'"), 'run', MODEL, '--ram')
        self.fails(2, ('without its value', "'-n'"), 'run', MODEL, '-n')
        self.fails(2, ('takes no value', "'--raw=1'"), 'run', MODEL, '--raw=1')
        self.fails(2, ('unknown option', "'--rom'"), 'run', MODEL, '--rom')
        self.fails(2, ('unknown option', "'-Z'"), 'run', MODEL, '-Z')

    def test_a_size_without_its_unit_is_asked_about(self):
        self.fails(2, ("--ram '8'", 'unit', '8G'), 'run', MODEL, '--ram', '8')

    def test_a_share_is_at_most_one(self):
        for option in ('--top-p', '--min-p'):
            self.fails(2, (option, '0 to 1'), 'run', MODEL, option, '1.5')


class Memory(FirstSteps):
    """The advice of a refusal is followed to the letter."""

    def plan(self, *options):
        # Nothing is measured of a header.
        p = e2e.run('plan', MODEL, '-c', 32768, '--threads', 2,
                    '--header-only', *options)
        return p.returncode, p.stderr.decode()

    def test_the_ram_that_is_asked_for_is_enough(self):
        for options in ([], ['--kv-type', 'f16', '-b', '128'],
                        ['--expert-cache', '100%'], ['--io', 'mmap']):
            status, said = self.plan('--ram', '1MiB', *options)
            self.assertEqual(status, 71, said)
            wanted = re.search(r'raise --ram to (\d+MiB)', said).group(1)
            status, said = self.plan('--ram', wanted, *options)
            self.assertEqual(status, 0, f'{options} {wanted} {said}')
            # Much less would not do, or it was no sum of what is needed.
            less = f'{int(wanted[:-3]) - 5}MiB'
            status, said = self.plan('--ram', less, *options)
            self.assertEqual(status, 71, f'{options} {less}')

    def test_every_ram_above_it_is_enough_too(self):
        # Buffers of a longer batch once took what the sum had left.
        said = self.plan('--ram', '1MiB')[1]
        least = int(re.search(r'raise --ram to (\d+)MiB', said).group(1))
        for ram in range(least, least + 16, 3):
            status, said = self.plan('--ram', f'{ram}MiB')
            self.assertEqual(status, 0, f'{ram} {said}')

    @unittest.skipIf(os.environ.get('PENSTOCK_TOOL'),
                     "an instrumented program's memory is not the program's")
    def test_the_context_that_is_proposed_fits(self):
        args = ('run', MODEL, '-n', 1, '--temp', 0, '--threads', 2, '-b', 32,
                '--ram', '24MiB', 'hi')
        p = e2e.run(*args, '-c', 4096)
        said = p.stderr.decode()
        self.assertEqual(p.returncode, 71, said)
        shorter = re.search(r'lower --ctx-size to (\d+)', said).group(1)
        p = e2e.run(*args, '-c', shorter)
        self.assertEqual(p.returncode, 0, p.stderr)


class Together(FirstSteps):
    def test_a_context_beyond_the_models_is_warned_of(self):
        p = e2e.run('run', MODEL, '-n', 1, '-c', 1000, 'hi')
        self.assertEqual(p.returncode, 0)
        self.assertRegex(p.stderr.decode(),
                         'warning: --ctx-size 1000 .* the 512 tokens')
        p = e2e.run('run', MODEL, '-n', 1, '-c', 512, 'hi')
        self.assertNotIn(b'warning: --ctx-size', p.stderr)

    def test_options_that_do_nothing_together_are_refused(self):
        self.fails(2, ('--system', '--raw'), 'run', MODEL, '--raw', '--system',
                   'Be brief.', 'hi')
        for verb in ('plan', 'bench'):
            self.fails(2, '--routing', verb, MODEL, '--routing-recall', '0.5')

    def test_no_prompt_is_not_an_empty_one(self):
        for args in ((), ('--raw',)):
            self.fails(2, ('no prompt', '--file'), 'run', MODEL, *args,
                       input=b'')

    def test_help_offers_only_what_a_verb_takes(self):
        self.assertIn('text|json ', e2e.run('help', 'run').stdout.decode())
        self.fails(2, 'text|json', 'run', MODEL, '-o', 'csv', 'hi')
        self.fails(2, "'run now'", 'help', 'run', 'now')


class Texts(FirstSteps):
    def test_a_text_without_an_end_is_refused_in_bounded_memory(self):
        def limit():
            resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))

        # Instrumented programs map more than any limit.
        self.fails(65, ('/dev/zero', '256 MiB'), 'tokenize', MODEL, '-f',
                   '/dev/zero',
                   preexec_fn=None if os.environ.get('PENSTOCK_TOOL')
                   else limit)

    def test_a_folder_is_not_a_text(self):
        self.fails(66, self.tmp, 'run', MODEL, '-f', self.tmp)

    def test_a_prompt_longer_than_the_context_tells_both_numbers(self):
        text = self.path('text', b'word ' * 3000)
        self.fails(1, ('do not fit in the context of 512', '--ctx-size'),
                   'run', MODEL, '-c', 512, '-f', text)


class Outputs(FirstSteps):
    def test_a_full_disk_fails_every_verb(self):
        for verb in (['help'], ['version'], ['plan', MODEL], ['show', MODEL],
                     ['help', 'run'], ['run', '--help'], ['doctor'],
                     ['completion', 'bash'], ['run', MODEL, 'hi', '-n', '2'],
                     ['run', MODEL, 'hi', '-n', '2', '-o', 'json']):
            with open('/dev/full', 'wb') as full:
                p = subprocess.run([e2e.PROGRAM, *verb], stdout=full,
                                   stderr=subprocess.PIPE, check=False)
            self.assertEqual(p.returncode, 74, verb)
            self.assertIn(b'cannot write', p.stderr)

    def test_a_failure_in_the_reply_starts_a_line_of_its_own(self):
        # Both go to a terminal.
        def limit():
            resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))

        trace = self.path('trace.csv')
        p = subprocess.run(
            [e2e.PROGRAM, 'trace', 'record', MODEL, 'hi', '--temp', '0',
             '-o', trace], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            preexec_fn=limit, check=False)
        self.assertEqual(p.returncode, 74, p.stdout)
        self.assertRegex(p.stdout, rb'[^\n]\npenstock: [^\n]*trace.csv: cannot')
        self.assertFalse(os.path.exists(trace))

    def closed(self, fd, *args):
        return subprocess.run([e2e.PROGRAM, *args], capture_output=True,
                              preexec_fn=lambda: os.close(fd), check=False)

    def test_a_closed_output_is_told_and_a_file_never_takes_its_place(self):
        p = self.closed(1, 'run', MODEL, 'hi', '-n', '2')
        self.assertEqual(p.returncode, 74)
        self.assertIn(b'Bad file descriptor', p.stderr)

    def test_messages_go_into_no_file_when_stderr_is_closed(self):
        trace = self.path('trace.jsonl')
        p = self.closed(2, 'trace', 'record', MODEL, 'hi', '-n', '2', '--ram',
                        '500G', '-o', trace)
        self.assertEqual(p.returncode, 0)
        with open(trace, 'rb') as f:
            self.assertNotIn(b'penstock: ', f.read())


def written(pid, folder):
    """Bytes of the largest file below folder that a process has open."""
    most = 0
    for fd in os.listdir(f'/proc/{pid}/fd'):
        fd = f'/proc/{pid}/fd/{fd}'
        try:
            if os.readlink(fd).startswith(folder + '/'):
                most = max(most, os.stat(fd).st_size)
        except OSError:
            pass  # closed meanwhile
    return most


class Killed(FirstSteps):
    # Several writes, and far more tokens than are waited for.
    TOKENS = '[' + ','.join(['1'] * 400) + ']'
    SLOW = ('-b', '1', '--io', 'pread', '--expert-cache', '4experts',
            '--io-fault', 'delay_us=5000')

    def killed(self, out, *args):
        """SIGKILL once some of the result is written."""
        p = subprocess.Popen([e2e.PROGRAM, *args, *self.SLOW],
                             stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL)
        while p.poll() is None and not written(p.pid, os.path.dirname(out)):
            time.sleep(0.01)
        self.assertIsNone(p.poll(), 'it ended before anything was written')
        p.kill()
        p.wait()

    def outputs(self):
        ids = self.path('ids.json', self.TOKENS.encode())
        os.mkdir(self.path('results'))
        out = self.path('results/out')
        return out, (
            ('logits', MODEL, '--tokens-file', ids, '--out', out),
            ('logits', MODEL, '--tokens-file', ids, '--record', out, '--out',
             '/dev/null'),
            ('trace', 'record', MODEL, 'hi', '--raw', '--temp', '0', '-c',
             '4096', '-o', out))

    def test_no_verb_leaves_half_a_result(self):
        out, verbs = self.outputs()
        for args in verbs:
            self.killed(out, *args)
            self.assertEqual(os.listdir(os.path.dirname(out)), [], args)

    def test_the_result_of_an_earlier_run_outlives_a_killed_one(self):
        out, verbs = self.outputs()
        for args in verbs:
            with open(out, 'wb') as f:
                f.write(b'earlier')
            self.killed(out, *args)
            with open(out, 'rb') as f:
                self.assertEqual(f.read(), b'earlier', args)


class Results(FirstSteps):
    def logits(self, out, status=0):
        p = e2e.run('logits', MODEL, '--tokens', '1,2', '--out', out)
        self.assertEqual(p.returncode, status, p.stderr)
        return p.stderr.decode()

    def test_a_result_takes_the_mode_of_the_file_that_it_replaces(self):
        out = self.path('out', b'earlier')
        os.chmod(out, 0o640)
        self.logits(out)
        self.assertEqual(os.stat(out).st_mode & 0o7777, 0o640)
        self.assertGreater(os.path.getsize(out), 1000)

    def test_a_new_result_has_the_mode_that_the_user_wants(self):
        out = self.path('out')
        e2e.run('logits', MODEL, '--tokens', '1,2', '--out', out,
                preexec_fn=lambda: os.umask(0o027))
        self.assertEqual(os.stat(out).st_mode & 0o7777, 0o640)

    def test_a_link_stays_one(self):
        os.mkdir(self.path('elsewhere'))
        target = self.path('elsewhere/target')
        link = self.path('link')
        os.symlink(target, link)
        for _ in range(2):
            # Once it leads to nothing, once to a file.
            self.logits(link)
            self.assertTrue(os.path.islink(link))
            self.assertGreater(os.path.getsize(target), 1000)

    def test_a_result_on_our_own_output_leaves_what_is_there(self):
        log = self.path('log', b'earlier\n')
        with open(log, 'ab') as f:
            p = subprocess.run([e2e.PROGRAM, 'run', MODEL, 'hi', '-n', '2',
                                '--report-file', '/dev/stderr'], stderr=f,
                               stdout=subprocess.DEVNULL, check=False)
        self.assertEqual(p.returncode, 0)
        with open(log, encoding='utf-8') as f:
            said = f.read()
        self.assertTrue(said.startswith('earlier\n'), said)
        self.assertRegex(said, r'(?s)-- prompt \d+ tok .*\nreport: ')

    def test_a_pipe_gets_the_bytes(self):
        fifo, out = self.path('fifo'), self.path('out')
        os.mkfifo(fifo)
        p = subprocess.Popen([e2e.PROGRAM, 'logits', MODEL, '--tokens', '1,2',
                              '--out', fifo])
        with open(fifo, 'rb') as f:
            got = f.read()
        self.assertEqual(p.wait(), 0)
        self.logits(out)
        with open(out, 'rb') as f:
            self.assertEqual(f.read(), got)

    def test_no_result_takes_the_place_of_a_model(self):
        with open(MODEL, 'rb') as f:
            data = f.read()
        other, ids = self.path('other.gguf', data), self.path('ids', b'[1]')
        link = self.path('link')
        os.symlink(other, link)
        for args in (('logits', MODEL, '--tokens', '1', '--out', other),
                     ('logits', other, '--tokens-file', ids, '--out', link),
                     ('trace', 'record', other, 'hi', '-n', 1, '-o', other),
                     ('run', MODEL, 'hi', '-n', 1, '--report-file', other),
                     ('show', other, '--tensor', 'output_norm.weight', '--f32',
                      other)):
            self.fails(2, ('a model', 'another name'), *args)
        with open(other, 'rb') as f:
            self.assertEqual(f.read(), data)

    def test_a_report_that_cannot_be_written_is_told_before_the_run(self):
        where = self.path('no/folder')
        self.fails(74, where, 'run', MODEL, 'hi', '--report-file', where)
        self.fails(74, where, 'bench', MODEL, '--report-file', where)

    def test_a_run_that_fails_leaves_the_last_report(self):
        report = self.path('report', b'earlier')
        self.fails(1, 'do not fit', 'run', MODEL, '-c', 512, '--report-file',
                   report, 'word ' * 3000)
        with open(report, 'rb') as f:
            self.assertEqual(f.read(), b'earlier')

    def test_raw_floats_are_not_for_terminals(self):
        ours, theirs = os.openpty()
        for args in (['logits', MODEL, '--tokens', '1'],
                     ['show', MODEL, '--tensor', 'output_norm.weight', '--f32',
                      '-']):
            p = subprocess.run([e2e.PROGRAM, *args], stdout=theirs,
                               stderr=subprocess.PIPE, check=False)
            self.assertEqual(p.returncode, 2)
            self.assertIn(b'terminal', p.stderr)
        os.close(theirs)
        os.close(ours)

    def test_a_folder_is_not_a_result(self):
        self.assertIn('directory', self.logits(self.tmp, 74))


class Signals(FirstSteps):
    # Every token reads, and every read takes its time: never done by itself.
    SLOW = ('--expert-cache', '4experts', '--io-fault', 'delay_us=20000',
            '--temp', '0', '-c', '4096')

    def interrupted(self, *args):
        """SIGINT once some of the reply is out; (status, stdout, stderr)."""
        p = subprocess.Popen(
            [e2e.PROGRAM, *args, *self.SLOW], stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
        first = os.read(p.stdout.fileno(), 1)
        p.send_signal(signal.SIGINT)
        out, err = p.communicate(timeout=200)
        return p.returncode, first + out, err.decode()

    def test_an_interrupted_reply_keeps_its_figures_and_its_report(self):
        report = self.path('report.json')
        status, out, err = self.interrupted('run', MODEL, 'hi', '--report=json',
                                            '--report-file', report)
        self.assertEqual(status, 130, err)
        self.assertRegex(err, r'-- prompt \d+ tok .* reply \d+ tok ')
        self.assertTrue(out.endswith(b'\n'))
        with open(report, encoding='utf-8') as f:
            self.assertIn('penstock.', json.load(f)['schema'])

    def test_an_interrupted_recording_is_kept(self):
        trace = self.path('trace.csv')
        status, _, err = self.interrupted('trace', 'record', MODEL, 'hi', '-o',
                                          trace)
        self.assertEqual(status, 130, err)
        p = e2e.run('trace', 'replay', trace)
        self.assertEqual(p.returncode, 0, p.stderr)


if __name__ == '__main__':
    unittest.main()
