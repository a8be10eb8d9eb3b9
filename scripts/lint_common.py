# SPDX-License-Identifier: MIT
"""What the lint scripts share: which files there are, how a finding is
printed, and C text without its comments and strings."""
import os
import re
import sys

SKIPPED_DIRS = re.compile(r'^(\.git|build(-.*)?|__pycache__|\..*cache)$')


class Report:
    """Collects findings; one line each, errors decide the exit status."""

    def __init__(self):
        self.nr_errors = 0
        self.lines = []

    def error(self, path, line, what):
        self.nr_errors += 1
        self.lines.append((path, line, what))

    def warn(self, path, line, what):
        self.lines.append((path, line, 'warning: ' + what))

    def finish(self):
        for path, line, what in sorted(self.lines):
            print(f'{path}:{line}: {what}')
        return 1 if self.nr_errors else 0


def root_from_argv():
    """The tree to look at: the first argument, else the checkout."""
    if len(sys.argv) > 1:
        return sys.argv[1]
    return os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def tree_files(root):
    """Relative paths of all files of the project, test data left out."""
    for folder, dirs, names in os.walk(root):
        rel = os.path.relpath(folder, root)
        dirs[:] = sorted(d for d in dirs if not SKIPPED_DIRS.match(d)
                         and os.path.normpath(os.path.join(rel, d))
                         != os.path.join('tests', 'data'))
        for name in sorted(names):
            yield os.path.normpath(os.path.join(rel, name))


def read_text(root, path):
    with open(os.path.join(root, path), encoding='utf-8',
              errors='replace') as f:
        return f.read()


_TOKEN = re.compile(
    r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)


def strip_comments_strings(text):
    """Blanks comments and literals; line numbers stay as they are."""
    def blank(m):
        s = m.group(0)
        if s[0] in '"\'':
            return s[0] + ' ' * (len(s) - 2) + s[0]
        return re.sub(r'[^\n]', ' ', s)
    return _TOKEN.sub(blank, text)


def line_of(text, pos):
    return text.count('\n', 0, pos) + 1
