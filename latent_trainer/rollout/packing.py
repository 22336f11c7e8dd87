"""Packed rows: several documents one after the other in a row, each computed as if it were alone.

Shapes: B rows of T columns, D documents of up to W columns.
"""

import torch

from latent_trainer.errors import InputError

ARGUMENTS = ("cu_seq_lens_q", "cu_seq_lens_k", "max_length_q", "max_length_k", "seq_idx")  # names of the stock library


class Documents:
    """The documents of packed rows, each moved to a row of its own and back.

    No mask could keep a latent from growing out of the document before, and not every attention takes one; rows of their own
    are right for every base model, and all documents think at the same time.

    Args:
        starts: (B, T) bool, True where a document begins.
        real: (B, T) bool, False at padding.
    """

    def __init__(self, starts: torch.Tensor, real: torch.Tensor):
        self.shape = starts.shape
        self.columns = real.flatten().nonzero()[:, 0]  # (N,) the real columns among all B * T
        number = starts.flatten().cumsum(0)[self.columns]
        _, self.document, self.lengths = number.unique_consecutive(return_inverse=True, return_counts=True)
        before = self.lengths.cumsum(0) - self.lengths
        self.place = (
            torch.arange(len(self.columns), device=starts.device) - before[self.document]
        )  # (N,) within its document
        self.mask = torch.zeros(len(self.lengths), int(self.lengths.max()), dtype=torch.long, device=starts.device)
        self.mask[self.document, self.place] = 1  # (D, W)

    def apart(self, packed: torch.Tensor, filler: int = 0) -> torch.Tensor:
        """Return (D, W, ..) for ``packed`` (B, T, ..), ``filler`` where a document is shorter."""
        rows = packed.new_full((*self.mask.shape, *packed.shape[2:]), filler)
        return rows.index_put((self.document, self.place), packed.flatten(0, 1)[self.columns])

    def together(self, rows: torch.Tensor) -> torch.Tensor:
        """Return (B, T, ..) for ``rows`` (D, W, ..), zeros at padding."""
        packed = rows.new_zeros((self.shape.numel(), *rows.shape[2:]))
        return packed.index_put((self.columns,), rows[self.document, self.place]).unflatten(0, self.shape)


def packed_documents(
    like: torch.Tensor, attention_mask: torch.Tensor | None, position_ids: torch.Tensor | None, cache, packing: dict
) -> Documents | None:
    """Return the documents of a call's rows; None where every row is one.

    As in the stock library a document begins where position ids do not go on by one, where ``seq_idx`` changes, and at the
    boundaries of ``cu_seq_lens_q``. Beside an attention mask (B, P + T) positions may leave gaps, and a document begins
    where they do not rise. A mask (B, 1, T, P + T) says itself what sees what.

    Args:
        like: (B, T, ..) token ids or embeddings.
        attention_mask, position_ids: as in `LatentForCausalLM.forward`.
        cache: the one that was handed in.
        packing: those of ``ARGUMENTS`` that were given.

    Raises:
        InputError: two of the arguments disagree, or packed rows together with a cache or a mask (B, 1, T, P + T).
    """
    shape = like.shape[:2]
    if shape[1] < 2 or (position_ids is None and not packing):
        return None
    ready = attention_mask is not None and attention_mask.ndim == 4
    real = torch.ones(shape, dtype=torch.bool, device=like.device)
    if attention_mask is not None and not ready:
        real = attention_mask[:, -shape[1] :].bool()
    found = {}
    if position_ids is not None and not ready:
        found["position_ids"] = _restarts(position_ids.expand(shape), None if attention_mask is None else real)
    if "seq_idx" in packing:
        found["seq_idx"] = packing["seq_idx"].expand(shape).diff(prepend=packing["seq_idx"][:, :1], dim=1) != 0
    for name in ("cu_seq_lens_q", "cu_seq_lens_k"):
        if name in packing:
            found[name] = _boundaries(name, torch.as_tensor(packing[name], device=like.device), shape)
    for starts in found.values():
        starts[:, 0] = False  # every row begins a document; only those within it are compared
    if not found or not any(starts.any() for starts in found.values()):  # a device synchronisation
        return None
    (name, starts), *others = found.items()
    for other, also in others:
        if (starts != also)[real].any():
            raise InputError(f"{name} and {other} name different documents in a packed row; give one of them")
    if ready or cache is not None:
        raise InputError(
            f"{name} packs several documents into a row, which cannot be combined with a cache or a 4-D attention_mask; "
            "leave out past_key_values, use_cache and that mask, or give every document its own row"
        )
    starts[:, 0] = True
    documents = Documents(starts, real)
    for name in ("max_length_q", "max_length_k"):
        if name in packing and packing[name] < documents.mask.shape[1]:
            raise InputError(f"{name}={packing[name]}, but a packed document has {documents.mask.shape[1]} columns")
    return documents


def _restarts(position_ids: torch.Tensor, real: torch.Tensor | None) -> torch.Tensor:
    """Return (B, T), True where position ids (B, T) do not go on from the real column before."""
    if real is None:
        return position_ids.diff(prepend=position_ids[:, :1] - 1, dim=1) != 1
    columns = torch.arange(real.shape[1], device=real.device)
    latest = torch.where(real, columns, -1).cummax(1).values.roll(1, 1)  # (B, T): the real column before
    before = position_ids.gather(1, latest.clamp(min=0))
    return real & (latest >= 0) & (position_ids <= before)


def _boundaries(name: str, boundaries: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """Return (B, T), True where one of the ``boundaries`` (D + 1,) of documents lies."""
    if boundaries[0] != 0 or boundaries[-1] != shape.numel() or (boundaries.diff() < 0).any():
        raise InputError(f"{name} must rise from 0 to the {shape.numel()} columns of input_ids; it is {boundaries.tolist()}")
    starts = torch.zeros(shape.numel() + 1, dtype=torch.bool, device=boundaries.device)
    starts[boundaries.long()] = True
    return starts[:-1].view(shape)
