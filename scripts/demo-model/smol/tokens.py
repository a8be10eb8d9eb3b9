# SPDX-License-Identifier: MIT
"""The program as a tokenizer: $PENSTOCK, or what the path has."""
import json
import os
import subprocess

import numpy as np


def penstock(*args, stdin=None):
    program = os.environ.get('PENSTOCK') or 'penstock'
    return subprocess.run([program, *args], input=stdin, check=True,
                          capture_output=True).stdout


def tokenize(model, text):
    out = penstock('tokenize', model, '--no-bos', stdin=text.encode())
    return np.array(json.loads(out), np.int32)


def detokenize(model, ids):
    return penstock('tokenize', '--decode', model,
                    stdin=json.dumps([int(i) for i in ids]).encode()).decode(
                        errors='replace')
