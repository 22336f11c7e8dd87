"""Rows at one stage to the tensors of a training batch."""

from dataclasses import dataclass
from typing import Any

import torch

from latent_trainer.data.encoding import IGNORED, Group, StepTarget, View, pad_rows


@dataclass
class LatentCollator:
    """Pad prompts on the left and continuations on the right, so that every continuation starts at the same column.

    Args:
        pad_token_id: written where nothing stands; never attended to.

    >>> batch = LatentCollator(pad_token_id=0)([([5, 6], {"latent": View([8, 9, 4], [-100, -100, 4], 2)}),
    ...                                         ([7], {"latent": View([8, 4], [-100, 4], 1)})])
    >>> batch["input_ids"].tolist(), batch["attention_mask"].tolist()
    ([[5, 6], [0, 7]], [[1, 1], [0, 1]])
    >>> batch["views"]["latent"]["input_ids"].tolist(), batch["views"]["latent"]["labels"].tolist()
    ([[8, 9, 4], [8, 4, 0]], [[-100, -100, 4], [-100, 4, -100]])
    >>> batch["views"]["latent"]["answer_start"].tolist()
    [2, 1]
    """

    pad_token_id: int

    def __call__(self, rows: list[tuple[list[int], dict[str, View]]]) -> dict:
        """Return ``input_ids``, ``attention_mask`` (B, Tp) and ``views``; all rows have the same views."""
        batch: dict[str, Any] = {**pad_rows([prompt for prompt, _ in rows], self.pad_token_id, left=True), "views": {}}
        for name in rows[0][1]:
            views = [views[name] for _, views in rows]
            batch["views"][name] = pad_rows([view.input_ids for view in views], self.pad_token_id, left=False)
            batch["views"][name]["labels"] = pad_rows([view.labels for view in views], IGNORED, left=False)["input_ids"]
            batch["views"][name]["answer_start"] = torch.tensor([view.answer_start for view in views])
            ends = [view.answer_start if view.steps_end is None else view.steps_end for view in views]
            batch["views"][name]["steps_end"] = torch.tensor(ends)
            if any(view.groups for view in views):
                batch["views"][name] |= self.groups([view.groups for view in views])
        return batch

    def groups(self, rows: list[tuple[Group, ...]]) -> dict[str, torch.Tensor]:
        """Return the columns that are sums of token embeddings, G in a row and up to n tokens each.

        Returns:
            ``group_columns`` (B, G), -1 behind a row's last one, ``group_ids`` and ``group_weights`` (B, G, n): the input of
            a column is the weighted sum over its tokens, of which those with weight 0 are padding.
        """
        most = max(map(len, rows))
        width = max(len(group.token_ids) for groups in rows for group in groups)
        columns = torch.full((len(rows), most), -1)
        ids = torch.full((len(rows), most, width), self.pad_token_id)
        weights = torch.zeros(len(rows), most, width, dtype=torch.float64)
        for row, groups in enumerate(rows):
            for place, group in enumerate(groups):
                columns[row, place] = group.column
                ids[row, place, : len(group.token_ids)] = torch.tensor(group.token_ids)
                weights[row, place, : len(group.token_ids)] = group.weight
        return {"group_columns": columns, "group_ids": ids, "group_weights": weights}

    def steps(self, targets: list[list[StepTarget]], group: int) -> dict[str, torch.Tensor]:
        """Return the steps of all rows, one below the other: R steps of ``group`` latents each.

        Without any step there is one that is not scored, so that every process runs its step decoder.
        """
        flat = [(row, target) for row, own in enumerate(targets) for target in own]
        unscored = not flat
        flat = flat or [(0, StepTarget([self.pad_token_id], [0] * group))]
        steps = pad_rows([target.input_ids for _, target in flat], self.pad_token_id, left=False)
        labels = pad_rows([target.input_ids for _, target in flat], IGNORED, left=False)["input_ids"]
        steps["labels"] = torch.full_like(labels, IGNORED) if unscored else labels
        steps["row"] = torch.tensor([row for row, _ in flat])
        steps["columns"] = torch.tensor([target.columns for _, target in flat])
        return steps
