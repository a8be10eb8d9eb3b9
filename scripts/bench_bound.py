# SPDX-License-Identifier: MIT
"""What a token of a run cannot take less than: the longer of what computing takes
with all experts in memory, and what the drive takes for the bytes that this token
needed.  What was read ahead for nothing is not needed."""
import bench_common as common
import gguf_io as gguf

KEYS = ('expert_count', 'expert_used_count')


class Geometry:
    """What a token wants of a model's experts."""

    def __init__(self, path):
        model = gguf.Reader(path)
        arch = model.get('general.architecture')
        experts, used = (model.get(f'{arch}.{k}') for k in KEYS)
        parts = [t for t in model.tensors if '_exps.weight' in t.name]
        if not parts or not experts:
            common.fail(f'{path}: a model without experts')
        self.layers = len({t.name.split('.')[1] for t in parts})
        self.used = used
        self.expert_bytes = (sum(t.nbytes for t in parts) / experts
                             / self.layers)
        self.part_bytes = max(t.nbytes for t in parts) // experts
        # The size that fio reads: whole blocks.
        self.block_bytes = (self.part_bytes + 4095) // 4096 * 4096
        self.trunk_bytes = sum(t.nbytes for t in model.tensors
                               if '_exps.' not in t.name)


def figures(result, geo, drive_bps, compute_s):
    """Of a result of `penstock bench`, the means of its tokens, in seconds and
    bytes."""
    n = result['decode_tokens']
    drive_s = [experts * geo.expert_bytes / drive_bps
               for experts in result['token_needed_experts']]
    s, bound = result['decode_s'] / n, sum(max(compute_s, d)
                                           for d in drive_s) / n
    needed = sum(result['token_needed_experts']) / n * geo.expert_bytes
    rate = result['decode_read_bytes'] / max(result['decode_io_busy_s'], 1e-9)
    return {'s': s, 'needed': needed, 'read': result['decode_read_bytes'] / n,
            'busy': result['decode_io_busy_s'] / result['decode_s'],
            'rate': rate, 'of_fio': rate / drive_bps,
            'ratio': bound / s, 'bound': bound,
            'limit': 'drive' if sum(drive_s) > n * compute_s
            else 'computing'}
