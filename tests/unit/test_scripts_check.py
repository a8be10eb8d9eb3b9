#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What `make check` says at its end: the counts alone on the last line, the
reason of a skip, the tail of a failure, and an exit status to rely on."""
import json
import os
import subprocess
import tempfile
import unittest

SRC = os.environ.get('PENSTOCK_SRC') or os.path.dirname(os.path.dirname(
    os.path.dirname(os.path.abspath(__file__))))
REPORT = os.path.join(SRC, 'scripts', 'check-report')


def report(results, status=0, *more):
    """Runs check-report over [(name, result, output)]."""
    with tempfile.NamedTemporaryFile('w', suffix='.json') as f:
        for name, result, output in results:
            f.write(json.dumps({'name': name, 'result': result,
                                'stdout': output, 'returncode': 1}) + '\n')
        f.flush()
        done = subprocess.run([REPORT, f.name, str(status), *more], text=True,
                              capture_output=True, check=False)
    return done.returncode, done.stdout.splitlines()


class CheckReport(unittest.TestCase):
    def test_all_passed(self):
        status, lines = report([('a', 'OK', ''), ('b', 'OK', '')])
        self.assertEqual((status, lines), (0, ['2 passed, 0 failed, '
                                               '0 skipped']))

    def test_a_skip_tells_why_and_is_no_failure(self):
        status, lines = report([('a', 'OK', ''), ('b', 'SKIP', 'no drive\n')])
        self.assertEqual(status, 0)
        self.assertEqual(lines, ['skipped b: no drive',
                                 '1 passed, 0 failed, 1 skipped'])

    def test_every_other_result_is_a_failure_with_its_tail(self):
        for result in ('FAIL', 'TIMEOUT', 'ERROR', 'UNEXPECTEDPASS'):
            text = '\n'.join(f'line {i}' for i in range(100))
            status, lines = report([('a', 'OK', ''), ('b', result, text)], 1)
            self.assertEqual(status, 1)
            self.assertEqual(lines[-1], '1 passed, 1 failed, 0 skipped')
            self.assertIn('    line 99', lines)
            self.assertNotIn('    line 1', lines)
            self.assertTrue(any(x.startswith('FAILED b') for x in lines))

    def test_a_failure_of_meson_itself_is_one(self):
        status, lines = report([('a', 'OK', '')], 1)
        self.assertEqual(status, 1)
        self.assertEqual(lines[-1], '1 passed, 1 failed, 0 skipped')

    def test_what_a_sanitizer_reported_is_a_failure_though_all_passed(self):
        with tempfile.TemporaryDirectory() as folder:
            done = [('a', 'OK', '')]
            self.assertEqual(report(done, 0, folder)[0], 0)
            with open(os.path.join(folder, 'report.1'), 'w') as f:
                f.write('ERROR: AddressSanitizer: heap-use-after-free\n')
            status, lines = report(done, 0, folder)
        self.assertEqual(status, 1)
        self.assertEqual(lines[-1], '1 passed, 1 failed, 0 skipped')
        self.assertIn('    ERROR: AddressSanitizer: heap-use-after-free', lines)

    def test_no_test_at_all_is_not_a_success(self):
        self.assertEqual(report([])[0], 1)


if __name__ == '__main__':
    unittest.main()
