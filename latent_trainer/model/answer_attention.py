"""What the answer's columns of a view score its other columns, seen while the base model reads them.

No attention implementation but eager returns its weights, and those of all columns. Here each layer's attention function is
watched: it is called with queries and keys after rotation, from which the scores of the few columns asked for are computed
beside it. What it returns stays as it is.

Shapes: A columns of the answer, n columns of the view that are read, P + n columns in the cache.
"""

import contextlib

import torch
from torch import nn
from transformers import Cache

from latent_trainer.compat import watched_attention
from latent_trainer.errors import InputError
from latent_trainer.rollout.cache import ThoughtLayer

LOOKING_BACK = {"full_attention", "sliding_attention"}
ELSE = "take an objective without needs.attention, or another base model"


class AnswerAttention(contextlib.AbstractContextManager):
    """Keeps the scores of every layer that runs within the block, which reads a view's columns in one pass.

    Args:
        decoder: the base model without its head.
        view: of the batch; holds no latents.
    """

    def __init__(self, decoder: nn.Module, view: dict[str, torch.Tensor]):
        self.name = decoder.config.model_type
        kinds = set(getattr(decoder.config.get_text_config(), "layer_types", None) or ())
        if not kinds <= LOOKING_BACK:
            raise self._refuse(f"has layers of {', '.join(sorted(kinds - LOOKING_BACK))}, whose scores are not known here")
        self.modules = set(decoder.modules())
        self.width = max(1, view["input_ids"].shape[1] - 1)  # n
        start = view.get("steps_end", view["answer_start"]).unsqueeze(1)  # (B, 1)
        end = view["attention_mask"].sum(1, keepdim=True) - 1  # the row's last column is not read
        most = max(1, int((end - start).max()))  # A; a device synchronisation
        columns = start + torch.arange(most, device=start.device)  # (B, A)
        self.real = columns < end
        self.columns = columns.clamp(max=self.width - 1)
        self.scores: list[torch.Tensor] = []
        self._watching = contextlib.ExitStack()

    def __enter__(self) -> "AnswerAttention":
        self._watching.enter_context(watched_attention(self._see))
        return self

    def __exit__(self, *error) -> None:
        self._watching.close()

    def layers(self, cache: Cache) -> tuple[torch.Tensor, ...]:
        """Return the scores (B, heads, A, n) of every layer.

        Args:
            cache: of the view; has a layer for every one of the model that keeps keys.

        Raises:
            InputError: the model has layers whose attention could not be watched.
        """
        kept = [layer for layer in cache.layers if not isinstance(layer, ThoughtLayer)]
        if len(self.scores) != len(kept):
            raise self._refuse(f"calls an attention function of transformers in {len(self.scores)} of {len(kept)} layers")
        return tuple(self.scores)

    def _refuse(self, what: str) -> InputError:
        return InputError(f"attention=answer_to_columns: {self.name} {what}; {ELSE}")

    @torch.no_grad()
    def _see(self, module, query, key, value, attention_mask=None, *, scaling=None, softcap=None, **more) -> None:
        """Compute the scores of a call of an attention function; its arguments are those of transformers' own."""
        if module not in self.modules:
            return
        if query.shape[2] != self.width or query.shape[-1] != key.shape[-1] or more.get("position_bias") is not None:
            raise self._refuse(f"({type(module).__name__}) scores in a form that is not known here")
        rows = torch.arange(len(query), device=query.device).unsqueeze(1)
        columns, real = self.columns.to(query.device), self.real.to(query.device)
        kind = torch.promote_types(query.dtype, torch.float32)
        with torch.autocast(query.device.type, enabled=False):
            asked = query.transpose(1, 2)[rows, columns].transpose(1, 2).to(kind)  # (B, heads, A, D)
            own = key[:, :, -self.width :].to(kind)  # (B, heads of keys, n, D)
            grouped = asked.unflatten(1, (own.shape[1], -1)) @ own.unsqueeze(2).transpose(-1, -2)
            scores = grouped.flatten(1, 2) * (query.shape[-1] ** -0.5 if scaling is None else scaling)  # (B, heads, A, n)
        if softcap is not None:
            scores = softcap * torch.tanh(scores / softcap)
        if isinstance(attention_mask, torch.Tensor) and attention_mask.ndim == 4:
            given = attention_mask[..., : key.shape[2]][..., -self.width :].expand(len(query), -1, -1, -1)
            given = given.transpose(1, 2)[rows, columns].transpose(1, 2)  # (B, 1 or heads, A, n)
            seen = given if given.dtype == torch.bool else given > torch.finfo(given.dtype).min / 2
            scores = scores if given.dtype == torch.bool else scores + given
        else:
            back = columns.unsqueeze(2) - torch.arange(self.width, device=columns.device)  # (B, A, n)
            seen = (back >= 0) & (back < (more.get("sliding_window") or self.width))
            seen = seen.unsqueeze(1)
        self.scores.append(scores.masked_fill(~(seen & real[:, None, :, None]), -torch.inf))
