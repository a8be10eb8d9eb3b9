# SPDX-License-Identifier: MIT
"""Pieces of text for distill.py, and the dense model's rows for them, which cost as
much as a step: in memory and in a file that its processes share.

Text that is written while the training runs is put behind what was there.
"""
import multiprocessing

import numpy as np
import torch

from shape import N

LENGTH = 320


class Store:
    def __init__(self, path, parts, room):
        """`parts`: {name: [piece][LENGTH]}; room for so many pieces more."""
        count = sum(len(p) for p in parts.values())
        self.ids = torch.zeros(count + room, LENGTH,
                               dtype=torch.int64).share_memory_()
        self.have = torch.zeros(count + room, dtype=torch.bool).share_memory_()
        self.data = np.memmap(path, np.int16, 'w+', shape=(
            count + room, LENGTH, N))
        self.names, self.at, first = [], {}, 0
        for name, pieces in parts.items():
            self.at[name] = range(first, first + len(pieces))
            self.ids[first:first + len(pieces)] = torch.tensor(
                pieces.astype(np.int64))
            self.names += [name] * len(pieces)
            first += len(pieces)
        self.first, self.count = first, multiprocessing.Value('i', first)

    def pieces(self, numbers):
        """As net.py has them: ((name, number), ids)"""
        return [((self.names[n] if n < self.first else 'own', n), self.ids[n])
                for n in map(int, numbers)]

    def add(self, ids, rows):
        """Pieces with their rows; False if there is no room."""
        at = self.count.value
        if at + len(ids) > len(self.ids):
            return False
        self.ids[at:at + len(ids)] = ids
        for i, r in enumerate(rows):
            self['own', at + i] = r
        self.count.value = at + len(ids)
        return True

    def __contains__(self, key):
        return bool(self.have[key[1]])

    def __getitem__(self, key):
        return torch.from_numpy(np.array(self.data[key[1]])).view(
            torch.bfloat16)

    def __setitem__(self, key, rows):
        self.data[key[1]] = rows.view(torch.int16).numpy()
        self.have[key[1]] = True
