"""The order of training rows: the same for every number of processes, and whole batches everywhere."""

import itertools
from collections.abc import Callable

import torch
from torch.utils.data import Dataset, Sampler

from latent_trainer.compat import get_length_grouped_indices


class RowNumbers(Dataset):
    """The numbers of the training rows: what a loader carries instead of the rows, which are encoded once and stay put.

    Args:
        rows: number of training rows; fillers have numbers from there on.
    """

    def __init__(self, rows: int):
        self.rows = rows

    def __len__(self) -> int:
        return self.rows

    def __getitem__(self, index: int) -> int:
        return index


class EpochSampler(Sampler[int]):
    """Yield a permutation of 0 .. rows-1 drawn from (seed, epoch), then fillers up to a multiple of the global batch.

    A filler is an index >= rows: the row ``index - rows`` without labels. It costs a forward pass and changes no loss, count
    or gradient, so the last batch of an epoch needs no repeated rows on some processes.

    Args:
        rows: number of training rows.
        multiple: rows of a batch over all processes.
        seed: decides the order.
        epoch: returns the epoch that begins; loaders wrap samplers in ways that do not pass ``set_epoch`` on, for one when
            two processes resume in the middle of an epoch (accelerate 1.15).
        shuffle: keep file order if False.
        lengths: tokens of every row; then each batch is drawn from rows of similar length, so that little is padding.
        drop_last: leave the rows out that would need fillers.
    """

    def __init__(
        self,
        rows: int,
        multiple: int,
        seed: int,
        epoch: Callable[[], int],
        shuffle: bool = True,
        lengths: list[int] | None = None,
        drop_last: bool = False,
    ):
        self.rows = rows
        self.length = rows // multiple * multiple if drop_last else -(-rows // multiple) * multiple
        self.seed = seed
        self.epoch = epoch
        self.shuffle = shuffle
        self.multiple = multiple
        self.lengths = lengths

    def __len__(self) -> int:
        return self.length

    def __iter__(self):
        generator = torch.Generator().manual_seed(self.seed + self.epoch())
        if self.lengths is not None:
            order = get_length_grouped_indices(self.lengths, self.multiple, generator=generator)
        elif self.shuffle:
            order = torch.randperm(self.rows, generator=generator).tolist()
        else:
            order = range(self.rows)
        yield from itertools.islice(order, self.length)
        yield from (self.rows + index % self.rows for index in range(self.length - self.rows))
