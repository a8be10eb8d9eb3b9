#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The code books of kernels/include/pst_iq_books.h, expanded digit by digit to the
bytes of the format's own tables, have the checksums of those."""
import hashlib
import os
import re
import sys

# name: (weights of an entry, bits of a digit, what digits mean, sha256)
BOOKS = {
    'iq2_xxs': (8, 2, (8, 25, 43), '05826b5d3e472a3a78f196be62ac78ac'
                                   'f81df0f909626e12ab9fa2a5d490dd54'),
    'iq2_xs': (8, 2, (8, 25, 43), '06e47aaca60b4dc1d9b5a3f345404370'
                                  '58a6b142b4d7a59d5ded769b4d1bf1de'),
    'iq2_s': (8, 2, (8, 25, 43), 'e1aa1473412b0552c2174c30ef22ab40'
                                 '73f6a181b85a17056e8249bd2932fd88'),
    'iq1': (8, 2, (255, 0, 1), '07540ffc1aeaf6ad4d97e96b0fcc765a'
                               'ae39671d4ae4a27bbd0e796fde167c6a'),
    'iq3_xxs': (4, 3, (4, 12, 20, 28, 36, 44, 52, 62),
                '46e35f5a997efdee6c99ce57854c8a0d'
                '4f0ff8ca57e5e8a60c0793ea580acf5d'),
    'iq3_s': (4, 3, (1, 3, 5, 7, 9, 11, 13, 15),
              'bd1af4945a1717c65610b0284e4628b9'
              'a1ba3b306fae3a06f6e5f597356e349f'),
}


def expand(entries, nr, bits, values):
    mask = (1 << bits) - 1
    return bytes(values[entry >> bits * k & mask]
                 for entry in entries for k in range(nr))


def main():
    path = os.path.join(os.environ.get('PENSTOCK_SRC', '.'),
                        'kernels', 'include', 'pst_iq_books.h')
    with open(path, encoding='ascii') as f:
        text = f.read()
    failed = False
    print('1..%d' % len(BOOKS))
    for i, (name, (nr, bits, values, want)) in enumerate(BOOKS.items(), 1):
        body = re.search(r'PST_K_%s_BOOK\(E\)((?:.*\\\n)*.*)' % name.upper(),
                         text)
        entries = [int(e, 16)
                   for e in re.findall(r'E\((0x[0-9a-f]+)\)', body.group(1))]
        got = hashlib.sha256(expand(entries, nr, bits, values)).hexdigest()
        failed |= got != want
        print('%sok %d - %s has the checksum of the format'
              % ('' if got == want else 'not ', i, name))
    return failed


if __name__ == '__main__':
    sys.exit(main())
