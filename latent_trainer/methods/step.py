"""What an objective is given of a training step, and how it says what it needs.

Letters in shapes: B rows, Tp tokens of the prompt, Tv tokens of a view, K latents, H hidden size, L layers.
"""

from dataclasses import dataclass, field
from typing import Any

import torch

PLACES = ("answer", "latents", "before_latents", "columns", "groups", "after_groups")
IN_CACHE = ("latents", "columns")
ATTENDED = ("answer_to_columns",)


@dataclass(frozen=True)
class Needs:
    """What an objective asks of a step. Nothing is computed that nobody asks for.

    Places of a view are:

    - ``answer``: the column that predicts the first answer token, (B, H);
    - ``latents``: the columns of the latents, (B, K, H);
    - ``before_latents``: the columns that the latents grow from, (B, K, H);
    - ``columns``: column t predicts the view's column t, (B, Tv, H). Keys and values of ``columns`` are those of the view's
      own column t, (B, heads, Tv - 1, D), as nobody reads the last one: a
      row's last token is not to be counted, so mask them with ``attention_mask[:, 1:]``;
    - ``answer_to_columns``: what the columns of the answer, from ``steps_end`` to the last one that is read, score the
      view's own columns before the softmax, (B, heads, A, Tv - 1): scaled products of query and key after rotation, capped
      as the model does it; -inf where a column is not seen, and in places behind a row's last one. Of views after the first,
      which hold no latents. Constants: no gradient flows through them;
    - ``groups`` and ``after_groups``: the columns that are sums of embeddings, and those right after them, (B, G, H), of a
      view that has such; mask them with ``group_columns >= 0``.

    Args:
        views: the views the model reads, the one with latents first. An objective may put more into a batch than is read.
        hidden_states: places whose hidden states are returned, of every layer, embedding output first.
        inputs: places whose input embeddings are returned, "columns", "groups" and their like.
        keys_values: places ("latents", "columns") whose keys and values are returned, of every layer.
        attention: places ("answer_to_columns") whose attention scores are returned, of every layer.
        latents: whether the latents themselves are returned.
        model: whether the terms call the model, its embedding or its head for instance. They are then computed within its
            forward call, as those of an objective with parameters are, so that parameters that ranks share out are at hand.
        last_hidden: places whose last hidden states, after the final norm, are returned: what the head reads.
    """

    views: tuple[str, ...] = ("latent",)
    hidden_states: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    keys_values: tuple[str, ...] = ()
    attention: tuple[str, ...] = ()
    latents: bool = False
    model: bool = False
    last_hidden: tuple[str, ...] = ()

    def __post_init__(self):
        for name in ("views", "hidden_states", "last_hidden", "inputs", "keys_values", "attention"):
            if isinstance(getattr(self, name), str):
                raise ValueError(f"needs {name}={getattr(self, name)!r} is a text; write ({getattr(self, name)!r},)")
        unknown = [place for place in (*self.hidden_states, *self.last_hidden, *self.inputs) if place not in PLACES]
        unknown += [place for place in self.keys_values if place not in IN_CACHE]
        unknown += [place for place in self.attention if place not in ATTENDED]
        if unknown or not self.views:
            raise ValueError(
                f"needs name a place '{unknown[0]}'; hidden_states are of {', '.join(PLACES)}, so are "
                f"last_hidden and inputs, keys_values of {', '.join(IN_CACHE)}, attention of {', '.join(ATTENDED)}"
                if unknown
                else "needs name no view; name at least the one with latents"
            )
        if self.attention and len(self.views) < 2:
            raise ValueError(
                f"needs attention={self.attention} is of views after the first, and views={self.views}; add one"
            )

    @property
    def columns_of_latents(self) -> bool:
        """Whether the columns of latents have to be found."""
        asked = {*self.hidden_states, *self.last_hidden, *self.inputs, *self.keys_values}
        return self.latents or bool({"latents", "before_latents"} & asked)


@dataclass
class Totals:
    """What a global batch adds up to, over all processes and accumulation steps.

    Args:
        counts: name -> number: ``rows``, ``<view>_tokens`` and what an objective counts.
        sums: name -> tensor that an objective has added up over model outputs; None where they are still to be taken.
    """

    counts: dict[str, int]
    sums: dict[str, torch.Tensor] | None = None


@dataclass
class Step:
    """One training step as an objective sees it.

    Args:
        views: name -> what the model returned for a view (`latent_trainer.model.views.ViewOutput`): ``token_loss`` (N,) of
            its labelled tokens, and what `Needs` asked for: ``hidden_states[place]``, ``keys_values[place]`` and
            ``attention[place]``, one entry a layer, and ``last_hidden[place]``.
        batch: the tensors of the batch. ``input_ids`` and ``attention_mask`` (B, Tp) are the prompts, ``views`` holds
            ``input_ids``, ``attention_mask``, ``labels`` (B, Tv), ``answer_start`` and ``steps_end`` (B,) of every view, and
            ``rows`` (B,) is False for rows that only fill up a batch, which no term may count. A view whose
            columns are sums of embeddings (`latent_trainer.data.encoding.Group`) says which in ``group_columns`` (B, G),
            ``group_ids`` and ``group_weights`` (B, G, n).
        counts: name -> number over the whole global batch, that is over all processes and accumulation steps: ``rows``,
            ``<view>_tokens``, and what the objective's own `count` adds.
        sums: name -> tensor over the whole global batch, as the objective's own `sums` takes them.
        latents: (B, K, H) if asked for; rows with fewer latents hold zeros behind them. K is at least 1.
        latent_mask: (B, K), True where there is a latent.
        model: the latent model if asked for.
    """

    views: dict[str, Any]
    batch: dict[str, Any]
    counts: dict[str, int] = field(default_factory=dict)
    sums: dict[str, torch.Tensor] = field(default_factory=dict)
    latents: torch.Tensor | None = None
    latent_mask: torch.Tensor | None = None
    model: Any = None

    @property
    def prompt(self) -> dict[str, torch.Tensor]:
        """The prompts: ``input_ids`` and ``attention_mask`` (B, Tp), padded on the left."""
        return {name: self.batch[name] for name in ("input_ids", "attention_mask")}

    @property
    def seeds(self) -> torch.Tensor | None:
        """(B,) a seed for every row in this epoch, for an objective that draws; None in evaluation, where nothing is drawn.

        They do not depend on batch, process or resume, and neither does what comes from a generator of each row's own.
        """
        return self.batch.get("seeds")

    @property
    def rows(self) -> torch.Tensor:
        """(B,) bool, False for rows that only fill up a batch."""
        return self.batch["rows"]


def make_step(outputs: dict, batch: dict, counts: dict, sums: dict | None = None, model=None) -> Step:
    """Return the step of a model's outputs over views; the arguments are the fields of `Step`."""
    first = next(iter(outputs.values()))
    return Step(outputs, batch, counts, sums or {}, first.latents, first.latent_mask, model)
