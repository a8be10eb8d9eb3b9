#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""No damaged model, trace or list of tokens makes a verb crash, hang, say
nothing or take more memory than it was given.

	test_mutants.py [NUMBER [FIRST]]

As a test: a few of each kind, always the same.  With NUMBER: so many of each
from FIRST on (by default $PENSTOCK_SEED, else a random number).  A finding is
repeated with its own number as FIRST and a NUMBER of 1.
"""
import os
import random
import sys
import tempfile

sys.dont_write_bytecode = True
import mutants  # noqa: E402
import pst_e2e as e2e  # noqa: E402

FEW = {'model': 60, 'trace': 30, 'state': 20}


def other_models():
    logits = os.path.join(e2e.DATA, 'logits')
    for _, folder, case in e2e.cases(logits):
        if len(case['files']) == 1:
            yield os.path.join(folder, case['files'][0])


def try_all(tap, name, family, numbers):
    bed = mutants.Bed()
    wrong = []
    for number in numbers:
        why = family.attempt(number, bed)
        if why:
            wrong.append(number)
            print(f'# {name} {number}: {why}', flush=True)
    ends = ', '.join(f'{n} exit {c}' for c, n in sorted(
        bed.codes.items(), key=lambda item: -item[1]))
    tap.check(bed.nr_runs == len(numbers) and not wrong and
              (len(bed.codes) > 1 or len(numbers) < 20),
              f'{len(numbers)} mutants ({name}) end in order: {ends}', wrong)


def main():
    tap = e2e.Tap()
    first, nr = 0, None
    if len(sys.argv) > 1:
        nr = int(sys.argv[1])
        seed = random.randrange(1 << 32)
        first = int(sys.argv[2] if len(sys.argv) > 2 else
                    os.environ.get('PENSTOCK_SEED', seed))
        print(f'# mutants from {first} on', flush=True)
    with tempfile.TemporaryDirectory(dir='/var/tmp') as folder:
        for name, family in (
                ('model', mutants.Models(folder, sorted(other_models()))),
                ('trace', mutants.Traces(folder)),
                ('state', mutants.States(folder))):
            try_all(tap, name, family,
                    range(first, first + (nr or FEW[name])))
    tap.done()


if __name__ == '__main__':
    if not os.access(e2e.PROGRAM, os.X_OK):
        e2e.skip(f'{e2e.PROGRAM} is not built')
    main()
