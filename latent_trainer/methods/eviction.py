"""Which columns of the written steps stay when only as many may stay as there are latents.

Columns stay in the order of time. Where there are fewer than latents all of them stay: then the first latents have a column
each and the rest none. Letters in shapes: B rows, n columns of the view with written steps, K latents, D units of a head.
"""

import torch

MIXERS = (0xBF58476D1CE4E5B9 - 2**64, 0x94D049BB133111EB - 2**64)  # of splitmix64, as signed numbers
ODD = 0x9E3779B97F4A7C15 - 2**64


def pairs(steps: torch.Tensor, latents: torch.Tensor) -> torch.Tensor:
    """Return (B, K), True where the k-th column that stays and the row's k-th latent are both there.

    Args:
        steps: (B, n), True at the columns of written steps.
        latents: (B, K), True where there is a latent.
    """
    return torch.arange(latents.shape[1], device=latents.device) < _stay(steps, latents).unsqueeze(1)


def best(scores: torch.Tensor, steps: torch.Tensor, latents: torch.Tensor) -> torch.Tensor:
    """Return (B, heads, K), the columns of the highest scores in the order of time; some column where none is left.

    Args:
        scores: (B, heads, n), of equal ones the earlier column is better.
        steps, latents: as in `pairs`.
    """
    most, columns = latents.shape[1], scores.shape[-1]
    lowest = -torch.inf if scores.is_floating_point() else torch.iinfo(scores.dtype).min
    order = scores.masked_fill(~steps.unsqueeze(1), lowest).argsort(dim=-1, descending=True, stable=True)[..., :most]
    gone = torch.arange(order.shape[-1], device=order.device) >= _stay(steps, latents)[:, None, None]  # (B, 1, K)
    order = order.masked_fill(gone, columns).sort(-1).values.clamp(max=columns - 1)
    return torch.nn.functional.pad(order, (0, most - order.shape[-1]))


def uniform(steps: torch.Tensor, latents: torch.Tensor) -> torch.Tensor:
    """Return (B, 1, K): the steps in as many equal parts as there are latents, and the column in the middle of each.

    Args:
        steps: (B, n), True at the columns of written steps, which begin at the first column.
        latents: as in `pairs`.
    """
    there, stay = steps.sum(1, keepdim=True), _stay(steps, latents).unsqueeze(1)  # (B, 1)
    middles = 2 * torch.arange(latents.shape[1], device=latents.device) + 1
    return (middles * there // (2 * stay).clamp(min=1)).clamp(max=steps.shape[1] - 1).unsqueeze(1)


def drawn(ids: torch.Tensor, steps: torch.Tensor, heads: int, layer: int, seed: int) -> torch.Tensor:
    """Return scores (B, heads, n) drawn at random.

    They depend on the steps' tokens, the layer and the seed alone, and so are the same wherever and whenever a row is read.

    Args:
        ids: (B, n), the tokens of the view.
        steps: (B, n), True at the columns of written steps.
        heads: of a layer's keys.
        layer: its number.
        seed: another one draws other columns.
    """
    columns = torch.arange(ids.shape[1], device=ids.device)
    row = (_mixed(ids * ODD + columns) * steps).sum(1)  # (B,)
    row = _mixed(row + _mixed(torch.tensor(seed, device=ids.device) * ODD + layer))
    places = torch.arange(heads, device=ids.device).unsqueeze(1) * (1 << 32) + columns  # (heads, n)
    return _mixed(row[:, None, None] + _mixed(places))


def rkv(keys: torch.Tensor, attention: torch.Tensor | None, steps: torch.Tensor, importance: float) -> torch.Tensor:
    """Return importance x I + (1 - importance) x R, the R-KV score (B, heads, n) of every column.

    I is the attention that the answer pays to a column among those of the steps, the mean over its columns; of the query
    heads that share a key, the highest score counts. R is high where a key resembles the others little: the softmax of minus
    the sum of its cosines with them over their number.

    Args:
        keys: (B, heads, n, D).
        attention: (B, query heads, A, n) before the softmax; None where ``importance`` is 0.
        steps: (B, n), True at the columns of written steps.
        importance: lambda, from 0 to 1.

    Source: Cai et al. 2025 (R-KV), section 3, as Kuzina et al. 2025 (KaVa) have it in section 3.2 and listing 1.
    """
    there = steps[:, None, :]  # (B, 1, n)
    keys = keys.to(torch.promote_types(keys.dtype, torch.float32))
    unit = keys / (keys.norm(dim=-1, keepdim=True) + 1e-8) * there.unsqueeze(-1)
    others = (unit * (unit.sum(2, keepdim=True) - unit)).sum(-1)  # (B, heads, n): sum of cosines without its own
    unlike = -others / there.sum(-1, keepdim=True).clamp(min=1)
    score = (1 - importance) * _softmax(unlike, there)
    if attention is None:
        return score
    shared = attention.unflatten(1, (keys.shape[1], -1)).amax(2)  # (B, heads, A, n)
    weights = _softmax(shared, there.unsqueeze(2) & shared.isfinite())
    asking = (weights > 0).any(-1).sum(-1, keepdim=True)  # (B, heads, 1): columns of the answer that see a step
    return score + importance * weights.sum(2) / asking.clamp(min=1)


def _stay(steps: torch.Tensor, latents: torch.Tensor) -> torch.Tensor:
    """Return (B,), how many columns of each row stay."""
    return torch.minimum(steps.sum(1), latents.sum(1))


def _softmax(scores: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
    """Return the softmax over the last dimension among what is there; zeros where nothing is."""
    weights = scores.masked_fill(~there, torch.finfo(scores.dtype).min).softmax(-1)
    return weights * there


def _mixed(numbers: torch.Tensor) -> torch.Tensor:
    """Return whole numbers (any shape) of 64 bits, each scattered over all bits; the same on every device."""
    for shift, factor in zip((30, 27), MIXERS, strict=True):
        numbers = (numbers ^ _shifted(numbers, shift)) * factor
    return numbers ^ _shifted(numbers, 31)


def _shifted(numbers: torch.Tensor, bits: int) -> torch.Tensor:
    return (numbers >> bits) & ((1 << (64 - bits)) - 1)
