"""The order of training rows: the same for every number of processes, and whole batches everywhere."""

import torch
from torch.utils.data import Sampler


class EpochSampler(Sampler[int]):
    """Yield a permutation of 0 .. rows-1 drawn from (seed, epoch), then fillers up to a multiple of the global batch.

    A filler is an index >= rows: the row ``index - rows`` without labels. It costs a forward pass and changes no loss, count
    or gradient, so the last batch of an epoch needs no repeated rows on some processes.

    Args:
        rows: number of training rows.
        multiple: rows of a batch over all processes.
        seed: decides the order.
        shuffle: keep file order if False.
    """

    def __init__(self, rows: int, multiple: int, seed: int, shuffle: bool = True):
        self.rows = rows
        self.length = -(-rows // multiple) * multiple
        self.seed = seed
        self.shuffle = shuffle
        self.epoch = 0

    def __len__(self) -> int:
        return self.length

    def __iter__(self):
        if self.shuffle:
            yield from torch.randperm(self.rows, generator=torch.Generator().manual_seed(self.seed + self.epoch)).tolist()
        else:
            yield from range(self.rows)
        yield from (self.rows + index % self.rows for index in range(self.length - self.rows))
