"""Rewards by name: what each gives for texts written out."""

import asyncio
import inspect

import pytest

from latent_trainer.data.template import resolve_template
from latent_trainer.data.tokenizer import train_tokenizer
from latent_trainer.errors import InputError
from latent_trainer.evaluation.grading import workers
from latent_trainer.rl.checked_rewards import checked_reward
from latent_trainer.rl.rewards import REWARDS, build_rewards, take_reward
from latent_trainer.rl.rewards.contract import Reward

TEMPLATE = resolve_template("coconut")
STEPS = ["1 + 2 = 3", "3 + 4 = 7"]


@pytest.fixture(scope="module")
def byte_tokenizer():
    return train_tokenizer(["1 + 2 = 3\n### 7"], 270)


def written(tokenizer, text: str, end: bool = True) -> list[int]:
    return tokenizer(text, add_special_tokens=False).input_ids + [tokenizer.eos_token_id] * end


def rewards(tokenizer, name, texts, options=None, **columns):
    """Return a reward's numbers for answers to one problem: 7 is right."""
    number = len(texts)
    columns = {"question": ["1 + 2 + 4"] * number, "answer": ["7"] * number, "steps": [STEPS] * number, **columns}
    columns.setdefault("group_size", [number] * number)
    (reward,) = build_rewards([name], {name: options or {}}, tokenizer, TEMPLATE)
    assert reward.__name__ == name
    texts = [written(tokenizer, *one) if isinstance(one, tuple) else one for one in texts]
    return reward(prompts=[""] * number, completions=[""] * number, completion_ids=texts, **columns)


def test_correct(byte_tokenizer):
    """As evaluation grades: behind the prefix, in any notation; a prefix that is missing is no answer."""
    texts = [("### 7",), ("### 8",), ("7",), ("1 + 2 = 3\n### 7",), ("### 7", False), []]
    assert rewards(byte_tokenizer, "correct", texts) == [1, 0, 0, 1, 1, 0]


def test_formulas_are_judged_in_limited_workers(byte_tokenizer):
    texts = [(r"### $\frac{2x}{4}$",), (r"### $\frac{x}{3}$",)]
    found = rewards(byte_tokenizer, "correct", texts, answer=[r"$\frac{x}{2}$"] * 2)
    assert found == [1, 0] and len(workers.running()) <= workers.WORKERS


def test_format(byte_tokenizer):
    """An answer behind the prefix and an end, right or wrong."""
    texts = [("### 7",), ("### 8",), ("7",), ("### 7", False), []]
    assert rewards(byte_tokenizer, "format", texts) == [1, 1, 0, 0, 0]


def test_steps(byte_tokenizer):
    """The share of the steps that are written one after the other."""
    both, second = "\n".join(STEPS), STEPS[1]
    swapped = "\n".join(STEPS[::-1])
    texts = [(f"{both}\n### 7",), (f"{second}\n### 7",), (f"{swapped}\n### 7",), ("### 7",)]
    assert rewards(byte_tokenizer, "steps", texts) == [1, 0.5, 0.5, 0]
    assert rewards(byte_tokenizer, "steps", texts[:1], steps=[[]]) == [None]


def test_length(byte_tokenizer):
    """Among right answers 1 for the shortest and 0 for the longest, thoughts included; nothing under the bar."""
    texts = [("### 7",), ("1 + 2 = 3\n### 7",), ("1 + 2 = 3\n3 + 4 = 7\n### 7",), ("### 8",)]
    short, middle, long = (len(written(byte_tokenizer, *text)) for text in texts[:3])
    found = rewards(byte_tokenizer, "length", texts, {"bar": 0.5})
    assert found == pytest.approx([1, (long - middle) / (long - short), 0, 0])
    assert rewards(byte_tokenizer, "length", texts, {"bar": 0.8}) == [0, 0, 0, 0]
    assert rewards(byte_tokenizer, "length", texts[:1] * 4) == [0, 0, 0, 0]
    thinks = rewards(byte_tokenizer, "length", texts[:1] * 3, num_latents=[6, 2, 4])
    assert thinks == pytest.approx([0, 1, 0.5])
    apart = rewards(byte_tokenizer, "length", texts[:2] * 2, group_size=[2] * 4)
    assert apart == [1, 0, 1, 0]
    with pytest.raises(InputError, match="compares the 3 answers to a prompt, and this process has 4"):
        rewards(byte_tokenizer, "length", texts, group_size=[3] * 4)


@pytest.mark.parametrize("name", REWARDS)
def test_prompts_are_no_problems(byte_tokenizer, name):
    (reward,) = build_rewards([name], None, byte_tokenizer, TEMPLATE)
    with pytest.raises(InputError, match=f"reward={name} compares with the answer to a problem"):
        reward(completion_ids=[[1]], group_size=[1])


def test_what_is_no_reward():
    class Nothing(Reward):
        pass

    with pytest.raises(InputError, match="must be a class derived from"):
        take_reward("mine", len)
    with pytest.raises(InputError, match="Nothing must define __call__"):
        take_reward("mine", Nothing)


def test_checked():
    """What is checked keeps its name; models and their names are not touched."""
    assert checked_reward("org/model") == "org/model"

    def mine(completions, **_):
        return [1.0] * len(completions)

    assert checked_reward(mine).__name__ == "mine" and checked_reward(mine)(completions=["a", "b"]) == [1.0, 1.0]

    def endless(completions, **_):
        return [0.0, float("inf")]

    with pytest.raises(InputError, match="endless gives inf for answer 2 of 2"):
        checked_reward(endless)(completions=["a", "b"])


def test_checked_later():
    """A reward function that TRL awaits is looked at when it answers."""

    async def slow(completions, **_):
        return [0.0]

    checked = checked_reward(slow)
    assert inspect.iscoroutinefunction(checked) and asyncio.run(checked(completions=["a"])) == [0.0]
    with pytest.raises(InputError, match="slow gives 1 rewards for 2 answers"):
        asyncio.run(checked(completions=["a", "b"]))
