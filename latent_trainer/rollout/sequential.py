"""The sequential rollout: one latent after the other, each out of the hidden state of the column before it."""

from dataclasses import replace

import torch
from transformers import Cache

from latent_trainer.rollout.cache import branch
from latent_trainer.rollout.columns import Columns, columns_of, constant_latents
from latent_trainer.rollout.contract import Rollout
from latent_trainer.rollout.output import RolloutOutput, join
from latent_trainer.rollout.passes import Passes
from latent_trainer.rollout.ranks import idle_after, idle_before
from latent_trainer.rollout.reading import Reading


class SequentialRollout(Rollout):
    """Fill each latent with feedback(hidden state of the column before it).

    Columns without a latent are processed together; a column in which any row has a latent starts a new cached pass, so a
    row of K latents costs K + 1 passes over T columns in all. Rows may have latents at different columns.

    Source: Hao et al. 2024 (Coconut); truncation as in the answer-only recipe with ``backprop="last"``.
    """

    keeps_pace = True

    def fill(self, columns: Columns, reading: Reading) -> RolloutOutput:
        """Read all columns, with every latent filled in; as `Rollout.fill`."""
        latent_columns = columns_of(columns.latent_mask)
        columns.check_latents(latent_columns)
        passes, without = self.passes(columns, reading, several=bool(latent_columns)), 0
        if latent_columns and reading.backprop != "full" and torch.is_grad_enabled():
            columns, without = _with_constants(passes, latent_columns)
            latent_columns = columns_of(columns.latent_mask) if without else latent_columns
        cache = columns.cache
        if cache is None and (reading.use_cache or latent_columns):
            cache = passes.new_cache()
        least = reading.least or (0, 0)
        idle_before(passes, least[0] - without)
        if columns.thought is not None and least[1]:  # the first column too begins with a latent, on some rank or on none
            latent_columns = sorted({0, *latent_columns})
        filled, outputs, cache = _one_by_one(passes, columns, latent_columns, cache)
        output = passes.joined(outputs, filled, cache)
        idle_after(passes, output, least[1] - len(latent_columns))
        return output


def _with_constants(passes: Passes, latent_columns: list[int]) -> tuple[Columns, int]:
    """Think the latents that no gradient flows through; return the columns with those filled in, and the passes it took."""
    columns = passes.columns
    constant = constant_latents(columns.latent_mask, passes.reading.backprop)
    constant_columns = columns_of(constant)
    if not constant_columns:
        return columns, 0
    stop = constant_columns[-1] + 1
    head, tail = columns.embeds[:, :stop], columns.embeds[:, stop:]
    with torch.no_grad():
        cache = passes.new_cache() if columns.cache is None else branch(columns.cache)
        filled, outputs, _ = _one_by_one(passes, replace(columns, embeds=head), latent_columns, cache, learns=False)
    embeds = torch.cat([torch.where(constant[:, :stop, None], filled, head), tail], 1)  # (B, T, H)
    return replace(columns, embeds=embeds, latent_mask=columns.latent_mask & ~constant), len(outputs)


def _one_by_one(passes: Passes, columns: Columns, latent_columns: list[int], cache: Cache | None, learns: bool = True):
    """Read the columns from left to right, a pass from each column with a latent to the next.

    With ``learns=False`` only the latents are wanted: the pass after the last of them and the continuations are left out.

    Returns:
        The embeddings (B, T, H) with every latent filled in, one decoder output a pass, and the cache.
    """
    embeds, thought, width = columns.embeds, columns.thought, columns.embeds.shape[1]
    latent_columns = [column for column in latent_columns if column < width]
    starts = sorted({0, *latent_columns})
    pieces, outputs = [], []
    for start, end in zip(starts, [*starts[1:], width], strict=True):
        piece = embeds[:, start:end]  # (B, n, H)
        if start in latent_columns:
            latent = torch.where(columns.latent_mask[:, start, None], passes.think(thought, start), piece[:, 0])  # (B, H)
            piece = torch.cat([latent.unsqueeze(1), piece[:, 1:]], 1)
        pieces.append(piece)
        if end == width and not learns:
            break
        if start == 0 and learns:
            output, cache = passes.first(piece, cache, keep=end)
        else:
            output = passes.one(piece, start, cache)
        outputs.append(output)
        thought = output.last_hidden_state[:, -1]  # (B, H)
    return join(pieces), outputs, cache
