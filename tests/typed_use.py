"""What a type checker sees of the library: a program of a user, checked by `make types` and run by no test."""

from __future__ import annotations

import torch
from datasets import Dataset
from transformers import AutoTokenizer, BatchEncoding
from typing_extensions import assert_type

from latent_trainer import (
    LatentConfig,
    LatentForCausalLM,
    LatentTrainer,
    LatentTrainingArguments,
    __version__,
    encode_prompts,
    load_problems,
    register_objective,
)
from latent_trainer.evaluation.answers import is_equivalent
from latent_trainer.evaluation.statistics import mcnemar
from latent_trainer.methods.objectives.contract import Objective
from latent_trainer.methods.step import Needs, Step


def train(base: str, folder: str) -> None:
    """Train as docs/start.md does."""
    tokenizer = AutoTokenizer.from_pretrained(base)
    model = LatentForCausalLM.from_base(base, tokenizer=tokenizer)
    assert_type(model, LatentForCausalLM)
    assert_type(model.config, LatentConfig)
    args = LatentTrainingArguments(folder, method="coconut", latents_per_step=2)
    problems = load_problems("arithmetic", "train", size=32)
    assert_type(problems, Dataset)
    trainer = LatentTrainer(model=model, args=args, train_dataset=problems, processing_class=tokenizer)
    assert_type(trainer.args, LatentTrainingArguments)
    trainer.train()
    loaded = LatentForCausalLM.from_pretrained(folder)
    assert_type(loaded, LatentForCausalLM)
    batch = encode_prompts(["7 +3"], tokenizer, num_latents=loaded.config.num_latents)
    assert_type(batch, BatchEncoding)


def judge() -> bool:
    """Grade and compare."""
    assert_type(__version__, str)
    assert_type(mcnemar([True], [False]), dict[str, float])
    return is_equivalent("1/2", "0.5")


class Plain(Objective):
    """An objective as a plug-in writes one."""

    needs = Needs(latents=True)

    def forward(self, step: Step) -> dict[str, torch.Tensor]:
        """Return one term."""
        return {"answer": step.views["latent"].token_loss.sum() / step.counts["latent_tokens"]}


register_objective("plain", Plain)
