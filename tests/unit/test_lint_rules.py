#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Every rule of `make lint` is fed a tree that breaks it and nothing else, and
the same tree without the fault: a rule that cannot fail proves nothing."""
import contextlib
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import unittest

SRC = os.environ.get('PENSTOCK_SRC') or os.path.dirname(os.path.dirname(
    os.path.dirname(os.path.abspath(__file__))))
SPDX = '/* SPDX-License-Identifier: MIT */\n'


def lint(command, files):
    """Runs a script over a tree made of {path: text}; (status, output)."""
    with tempfile.TemporaryDirectory() as root:
        for path, text in files.items():
            full = os.path.join(root, path)
            os.makedirs(os.path.dirname(full), exist_ok=True)
            with open(full, 'w', encoding='utf-8') as f:
                f.write(text)
        script, *options = command.split()
        done = subprocess.run([os.path.join(SRC, 'scripts', script), *options,
                               root],
                              capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr


class LintCase(unittest.TestCase):
    # A script and its options.
    script = ''

    def finds(self, files, place, words):
        status, output = lint(self.script, files)
        self.assertEqual(status, 1, output)
        lines = [x for x in output.splitlines() if x.startswith(place + ': ')]
        self.assertEqual(len(lines), 1, output)
        self.assertIn(words, lines[0])

    def passes(self, files, words=''):
        status, output = lint(self.script, files)
        self.assertEqual(status, 0, output)
        self.assertIn(words, output)


def tree(*pairs):
    """A tree with a header in every module that the pairs do not name."""
    files = {f'userspace/{m}/{m}.h': SPDX for m in (
        'base', 'topo', 'mem', 'io', 'gguf', 'store', 'model', 'engine')}
    files['userspace/text/tokenizer.h'] = SPDX
    files['kernels/include/pst_kernels.h'] = SPDX
    files.update(pairs)
    return files


def including(path, *headers):
    return path, SPDX + ''.join(f'#include "{h}"\n' for h in headers)


class Graph(LintCase):
    script = 'lint-includes --graph'

    def forbidden(self, path, header):
        self.finds(tree(including(path, header)), path + ':2', header)

    def allowed(self, path, *headers):
        self.passes(tree(including(path, *headers)))

    def test_a_leaf_module_sees_base_only(self):
        for module in ('topo', 'mem', 'io', 'gguf', 'text'):
            self.allowed(f'userspace/{module}/a.c', 'base.h')
            self.forbidden(f'userspace/{module}/a.c', 'store.h')
        self.forbidden('userspace/io/a.c', 'mem.h')
        self.forbidden('userspace/base/a.c', 'gguf.h')

    def test_text_may_also_see_gguf(self):
        self.allowed('userspace/text/a.c', 'gguf.h')
        self.forbidden('userspace/gguf/a.c', 'tokenizer.h')

    def test_the_chain_points_downwards(self):
        self.allowed('userspace/store/a.c', 'io.h', 'mem.h')
        self.forbidden('userspace/store/a.c', 'model.h')
        self.allowed('userspace/model/a.c', 'store.h')
        self.forbidden('userspace/model/a.c', 'engine.h')
        self.allowed('userspace/engine/a.c', 'model.h')

    def test_kernels_see_only_their_own_include_directory(self):
        self.allowed('kernels/ref/a.c', 'pst_kernels.h')
        self.forbidden('kernels/ref/a.c', 'base.h')

    def test_helpers_of_one_isa_stay_in_its_directory(self):
        helper = ('kernels/x86/k_x86.h', SPDX)
        self.passes(tree(helper, including('kernels/x86/a.c', 'k_x86.h')))
        for path in ('kernels/ref/a.c', 'userspace/model/a.c'):
            files = tree(helper, including(path, 'k_x86.h'))
            self.finds(files, path + ':2', 'kernels/include')

    def test_only_model_engine_and_tests_call_kernels(self):
        for path in ('userspace/model/a.c', 'userspace/engine/a.c',
                     'tests/kernels/a.c'):
            self.allowed(path, 'pst_kernels.h')
        for path in ('userspace/store/a.c', 'userspace/cli/a.c'):
            self.forbidden(path, 'pst_kernels.h')

    def test_the_engine_implements_the_public_headers(self):
        public = ('userspace/include/penstock/penstock.h', SPDX)
        name = 'penstock/penstock.h'
        self.passes(tree(public, including('userspace/engine/a.c', name),
                         including('userspace/cli/b.c', name),
                         including('userspace/engine/e.h', name)))
        files = tree(public, including('userspace/store/a.c', name))
        self.finds(files, 'userspace/store/a.c:2', 'store must not')

    def test_front_ends_see_public_headers_only(self):
        self.allowed('userspace/cli/a.c', 'engine.h', 'tokenizer.h', 'base.h')
        self.forbidden('userspace/cli/a.c', 'store.h')
        self.forbidden('userspace/http/a.c', 'model.h')

    def test_a_private_header_stays_in_its_directory(self):
        priv = ('userspace/io/io_priv.h', SPDX)
        self.passes(tree(priv, including('userspace/io/a.c', 'io_priv.h')))
        files = tree(priv, including('userspace/store/a.c', 'io_priv.h'))
        self.finds(files, 'userspace/store/a.c:2', 'private')

    def test_only_mem_knows_the_kernel_module(self):
        uapi = ('kmod/uapi/linux/penstock.h', SPDX)
        header = 'linux/penstock.h'
        self.passes(tree(uapi, including('userspace/mem/a.c', header)))
        files = tree(uapi, including('userspace/io/a.c', header))
        self.finds(files, 'userspace/io/a.c:2', 'kmod')

    def test_angle_brackets_do_not_hide_an_include(self):
        files = tree(('userspace/io/a.c', SPDX + '#include <store.h>\n'))
        self.finds(files, 'userspace/io/a.c:2', 'store.h')

    def test_relative_includes_are_refused(self):
        path = 'userspace/io/a.c'
        self.finds(tree(including(path, '../base/base.h')), path + ':2',
                   'relative')

    def test_an_unknown_header_is_a_finding(self):
        self.forbidden('userspace/io/a.c', 'nowhere.h')

    def test_file_names_are_unique(self):
        self.finds(tree(('userspace/io/same.c', SPDX),
                        ('userspace/mem/same.c', SPDX)),
                   'userspace/mem/same.c:1', 'userspace/io/same.c')


class Headers(LintCase):
    script = 'lint-includes'

    def test_the_graph_is_checked_too(self):
        self.finds(tree(including('userspace/io/a.c', 'mem.h')),
                   'userspace/io/a.c:2', 'mem.h')

    def test_a_header_compiles_alone(self):
        path = 'userspace/io/io.h'
        self.finds(tree((path, SPDX + 'uint64_t pst_io_x(void);\n')),
                   path + ':1', 'compile alone')
        self.passes(tree((path, SPDX + '#include <stdint.h>\n'
                          'uint64_t pst_io_x(void);\n')))
        self.passes(tree(('kernels/x86/mul_tmpl.h', SPDX + 'MUL_NAME;\n')))


def function(nr_lines, parameters='void'):
    return (SPDX + f'static int f({parameters})\n{{\n'
            + '\tf();\n' * (nr_lines - 1) + '}\n')


class Sizes(LintCase):
    script = 'lint-sizes'

    def test_a_long_file_is_refused_and_a_table_is_not(self):
        text = SPDX + 'int x;\n' * 1500
        self.finds({'userspace/io/a.c': text}, 'userspace/io/a.c:1501',
                   '1501 lines')
        self.passes({'userspace/io/a_tables.c': text})
        self.passes({'userspace/io/a.c': SPDX + 'int x;\n' * 1499},
                    'warning')

    def test_a_long_function_is_refused(self):
        path = 'userspace/io/a.c'
        self.finds({path: function(101)}, path + ':3', 'f() has 101 lines')
        self.passes({path: function(100)}, 'warning: f()')
        self.passes({path: function(70)})

    def test_a_seventh_parameter_is_refused(self):
        path = 'userspace/io/a.c'
        six = 'int a, int (*b)(int, int), int c[2], int d, int e, int g'
        self.passes({path: function(2, six)})
        self.finds({path: function(2, six + ', int h')}, path + ':3',
                   '7 parameters')

    def test_braces_in_strings_comments_and_macros_do_not_confuse(self):
        path = 'userspace/io/a.c'
        text = (SPDX + '#define M(x) \\\n\tdo { \\\n\t(x)++\n'
                'static const char *s[] = { "}", "{{" }; /* { */\n'
                'static const char c = \'{\';\n' + function(101)[len(SPDX):])
        self.finds({path: text}, path + ':8', '101 lines')

    def test_attributes_and_multi_line_heads_are_understood(self):
        path = 'userspace/io/a.c'
        head = ('__attribute__((target("avx2"), noinline))\n'
                'static int g(int a, int b, int c, int d,\n'
                '\t     int e, int f, int h)\n{\n\treturn 0;\n}\n')
        self.finds({path: SPDX + head}, path + ':5', 'g() has 7 parameters')

    def test_every_source_has_an_spdx_line(self):
        for path in ('userspace/io/a.c', 'userspace/io/meson.build',
                     'scripts/x', 'Makefile'):
            self.finds({path: 'x\n'}, path + ':1', 'SPDX')
        self.passes({'README.rst': 'x\n'})

    def test_leftovers_are_refused(self):
        path = 'userspace/io/a.c'
        for word in ('TO' 'DO', 'FIX' 'ME', 'XX' 'X'):
            self.finds({path: SPDX + f'/* {word}: later */\n'}, path + ':2',
                       word)
        self.passes({path: SPDX + '/* IQ3_XX' 'S, name.XX' 'XXXX */\n'})

    def test_dead_code_is_refused(self):
        path = 'userspace/io/a.c'
        self.finds({path: SPDX + '# if' ' 0\n#endif\n'}, path + ':2', 'dead')


@contextlib.contextmanager
def limited(what, most):
    """Processes started inside may take so much of a resource."""
    before = resource.getrlimit(what)
    resource.setrlimit(what, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(what, before)


LLVM = ('.clang-format', 'BasedOnStyle: LLVM\n')
DEV_TOOLS = ('clang', 'clang-format', 'shellcheck', 'valgrind', 'fio')


@unittest.skipUnless(all(map(shutil.which, DEV_TOOLS)),
                     'needs ' + ', '.join(DEV_TOOLS))
class Tools(LintCase):
    script = 'lint'

    def test_an_unformatted_file_is_a_finding(self):
        path, other = 'userspace/io/a.c', 'userspace/io/b.c'
        bad, good = SPDX + 'int   x;\nint   y;\n', SPDX + 'int x;\nint y;\n'
        self.finds(dict([LLVM, (path, bad), (other, good)]), path + ':2',
                   'not formatted')
        self.finds(dict([LLVM, (path, bad), (other, bad)]), other + ':2',
                   'not formatted')
        self.passes(dict([LLVM, (path, good), (other, good)]))

    def test_what_clang_format_cannot_read_is_a_finding(self):
        style = ('.clang-format', 'NoSuchOption: 1\n')
        status, output = lint('lint', dict([style, ('a.c', SPDX)]))
        self.assertEqual(status, 1, output)
        self.assertIn('.clang-format', output)

    def test_a_long_table_in_a_macro_costs_no_memory(self):
        # 2000 entries took clang-format 10 GB and several minutes.
        path = 'userspace/io/table.h'
        row = ' '.join(['E(0x0000)'] * 7)
        table = (SPDX + '/* clang-format off */\n#define BOOK(E) \\\n'
                 + f'\t{row} \\\n' * 300
                 + '\tE(0xffff)\n/* clang-format on */\n')
        with open(os.path.join(SRC, '.clang-format'), encoding='utf-8') as f:
            style = ('.clang-format', f.read())
        with limited(resource.RLIMIT_AS, 2 << 30):
            self.passes(dict([style, (path, table + 'int x;\n')]))
            self.finds(dict([style, (path, table + 'int   x;\n')]),
                       f'{path}:{table.count(chr(10)) + 1}', 'not formatted')

    def test_other_lines_are_not_formatted_between_off_and_on(self):
        text = (SPDX + '/* clang-format off */\nint   x;\n'
                '/* clang-format on */\n')
        self.passes(dict([LLVM, ('a.c', text)]))

    def test_a_shell_mistake_is_a_finding(self):
        head = '#!/bin/sh\n# SPDX-License-Identifier: MIT\n'
        self.finds({'scripts/x': head + 'cd "$1"\nls\n'}, 'scripts/x:3',
                   'SC2164')
        self.passes({'scripts/x': head + 'cd "$1" || exit\n'})


if __name__ == '__main__':
    sys.dont_write_bytecode = True
    unittest.main()
