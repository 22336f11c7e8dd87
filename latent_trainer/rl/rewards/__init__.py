"""Rewards ready to name: what an answer is worth.

One file a reward, one line below. A reward derives from `latent_trainer.rl.rewards.contract.Reward` and is called as TRL
calls a reward function; options are those of its constructor beside ``tokenizer`` and ``template``, whose annotations state
type and range (`latent_trainer.options`).
"""

from transformers import PreTrainedTokenizerBase

from latent_trainer.data.template import Template
from latent_trainer.errors import InputError
from latent_trainer.options import check_options
from latent_trainer.registry import Registry
from latent_trainer.rl.rewards.contract import Reward
from latent_trainer.rl.rewards.correct import CorrectReward
from latent_trainer.rl.rewards.format import FormatReward
from latent_trainer.rl.rewards.length import LengthReward
from latent_trainer.rl.rewards.steps import StepsReward


def take_reward(name: str, entry) -> type[Reward]:
    """Return a reward that a plug-in registers, an `InputError` in one line where it keeps not to the contract."""
    if not (isinstance(entry, type) and issubclass(entry, Reward)):
        raise InputError(f"reward '{name}' must be a class derived from {Reward.__module__}.Reward; got {entry!r}")
    if entry.__call__ is Reward.__call__:
        raise InputError(f"reward '{name}': {entry.__name__} must define __call__(self, completion_ids, **columns)")
    return entry


REWARDS = Registry(
    "reward",
    {"correct": CorrectReward, "format": FormatReward, "length": LengthReward, "steps": StepsReward},
    take_reward,
)


def build_rewards(
    names: list[str], options: dict | None, tokenizer: PreTrainedTokenizerBase, template: Template
) -> list[Reward]:
    """Return rewards by name.

    Args:
        names: keys of ``REWARDS``.
        options: options of each by its name.
        tokenizer, template: as for `Reward`.

    Raises:
        InputError: no such reward or option, options of a reward that is not given, or no reward; in one line.
    """
    if not names:
        raise InputError(f"rewards=[] rewards nothing; name one or more of {', '.join(REWARDS)}")
    options = options or {}
    for name in options:
        if name not in names:
            raise InputError(f"reward_options has '{name}', which is none of rewards={names}; add it there or leave it out")
    entries = {name: REWARDS.choose("rewards", name) for name in names}
    rewards = []
    for name, entry in entries.items():
        taken = ("tokenizer", "template")
        given = check_options(f"reward '{name}'", entry, options.get(name, {}), taken, f"reward_options.{name}")
        reward = entry(tokenizer, template, **given)
        reward.__name__ = name
        rewards.append(reward)
    return rewards
