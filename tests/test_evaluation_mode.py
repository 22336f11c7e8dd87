"""A model with dropout is evaluated without it, and is in the mode it was in afterwards."""

import pytest
import torch
from conftest import make_base, sharpen
from training import make_tokenizer, make_trainer, uneven_problems

from latent_trainer.evaluation.controls import collect_latents
from latent_trainer.evaluation.generation import generate_answers

DROPOUT = {"resid_pdrop": 0.5, "embd_pdrop": 0.5, "attn_pdrop": 0.5}


@pytest.fixture(scope="module")
def trainer(tmp_path_factory):
    """Return the trainer of a model with dropout, at a stage with latents."""
    base = sharpen(make_base(vocab_size=len(make_tokenizer()), dtype=torch.float32, **DROPOUT))
    folder = tmp_path_factory.mktemp("run")
    return make_trainer(folder, base=base, first_stage=2, generate_in_eval=False, number=4, eval_dataset=uneven_problems(6))


@pytest.mark.parametrize("training", [True, False])
def test_loss(trainer, training):
    trainer.model.train(training)
    losses = {trainer.evaluate()["eval_loss"] for _ in range(2)}
    assert len(losses) == 1
    assert {module.training for module in trainer.model.modules()} == {training}


def test_latents_of_controls(trainer):
    trainer.model.train()
    arguments = (trainer.model, trainer.processing_class, uneven_problems(4), 2, trainer.batches.encoder.template)
    assert torch.equal(collect_latents(*arguments), collect_latents(*arguments))
    assert all(module.training for module in trainer.model.modules())


def test_answers(trainer):
    trainer.model.train()
    arguments = (trainer.model, trainer.processing_class, uneven_problems(8), 2, trainer.batches.encoder.template, 4, 6)
    first, second = ([answer.text for answer in generate_answers(*arguments)] for _ in range(2))
    assert first == second and len(set(first)) > 1
    assert all(module.training for module in trainer.model.modules())
