"""Rewards that are looked at before anything learns from them."""

import functools
import inspect
import math
from collections.abc import Callable

from torch import nn

from latent_trainer.errors import InputError


def checked_reward(reward: Callable) -> Callable:
    """Return a reward function that refuses what it gives where that is no reward for every answer.

    TRL takes a NaN for "none to give", which is None. A model that rewards, or its name, is returned as it is.
    """
    if isinstance(reward, str | nn.Module) or not callable(reward):
        return reward
    name = getattr(reward, "__name__", type(reward).__name__)

    def checked(rewards, number: int) -> list[float | None]:
        rewards = list(rewards)
        if len(rewards) != number:
            raise InputError(f"reward function {name} gives {len(rewards)} rewards for {number} answers; give one an answer")
        for place, value in enumerate(rewards):
            if value is not None and not math.isfinite(value):
                raise InputError(
                    f"reward function {name} gives {value} for answer {place + 1} of {number}; give a finite number, or "
                    "None where there is no reward to give"
                )
        return rewards

    if inspect.iscoroutinefunction(reward) or inspect.iscoroutinefunction(getattr(reward, "__call__", None)):  # noqa: B004

        async def later(*args, **kwargs):
            return checked(await reward(*args, **kwargs), len(kwargs["completions"]))

        later.__name__ = name
        return later

    @functools.wraps(reward, assigned=("__doc__",), updated=())
    def at_once(*args, **kwargs):
        return checked(reward(*args, **kwargs), len(kwargs["completions"]))

    at_once.__name__ = name
    return at_once
