"""An evaluation is one: no dropout, nothing drawn anew, and no trace of it in what is trained."""

import random

import numpy
import pytest
import torch
from conftest import make_base
from training import batch_of, history, make_tokenizer, make_trainer, uneven_problems
from transformers import TrainerCallback

from latent_trainer.evaluation.generation import generate_answers
from latent_trainer.evaluation.mode import evaluating, own_random_numbers

DROPOUT = {"resid_pdrop": 0.5, "embd_pdrop": 0.5, "attn_pdrop": 0.5}
MEASURED = ("eval_loss", "eval_accuracy", "eval_tokens_written", "eval_invalid", "eval_passes")


def with_dropout():
    """Return a base that drops half of everything in training."""
    return make_base(vocab_size=len(make_tokenizer()) + 3, dtype=torch.float32, **DROPOUT)


def modes(model) -> list[bool]:
    return [module.training for module in model.modules()]


class EveryStep(TrainerCallback):
    """Evaluates after every step."""

    def on_step_end(self, args, state, control, **kwargs):
        """Ask for it."""
        control.should_evaluate = True


# ---- modes ----


LAST = {"coconut": 2, "codi": 0}  # stages


@pytest.mark.parametrize("method", LAST)
def test_no_dropout_in_the_loss(tmp_path, method):
    """The same loss twice, that of a model without dropout; each module's mode comes back."""
    settings = {"method": method, "first_stage": LAST[method], "generate_in_eval": False}
    trainer = make_trainer(tmp_path, base=with_dropout(), **settings)
    trainer.model.train()
    trainer.model.get_input_embeddings().eval()  # one part that somebody keeps from training
    before = modes(trainer.model)
    assert True in before and False in before
    losses = [trainer.evaluate(uneven_problems(6))["eval_loss"] for _ in range(2)]
    assert losses[0] == losses[1]
    assert modes(trainer.model) == before
    for module in trainer.model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    assert trainer.evaluate(uneven_problems(6))["eval_loss"] == losses[0]


def test_no_dropout_in_what_is_written(tmp_path):
    trainer = make_trainer(tmp_path, base=with_dropout(), first_stage=2)
    model = trainer.model.train()
    problems = [row.problem for row in trainer.rows[:8]]
    before = modes(model)
    texts = []
    for _ in range(2):
        answers = generate_answers(model, trainer.processing_class, problems, 2, "plain", max_new_tokens=6)
        texts.append([answer.text for answer in answers])
        assert modes(model) == before
    assert texts[0] == texts[1]


def test_the_mode_comes_back_from_an_error(tmp_path):
    trainer = make_trainer(tmp_path, number=4)
    trainer.model.train()
    with pytest.raises(RuntimeError, match="no"), evaluating(trainer.model):
        assert not any(modes(trainer.model))
        raise RuntimeError("no")
    assert all(modes(trainer.model))


def test_an_optimizer_with_modes_of_its_own(tmp_path):
    """A schedule-free optimizer holds other weights while it trains; it is asked to change them before an evaluation."""
    seen = []

    class Modes(torch.optim.SGD):
        def train(self):
            seen.append("train")

        def eval(self):
            seen.append("eval")

    evaluation = {"eval_dataset": uneven_problems(2), "eval_strategy": "steps", "eval_steps": 1, "generate_in_eval": False}
    make_trainer(tmp_path, number=8, max_steps=2, optimizer_cls_and_kwargs=(Modes, {"lr": 0.1}), **evaluation).train()
    assert seen == ["train", "eval", "train", "eval"]


# ---- curricula that draw ----


@pytest.mark.parametrize(
    "drawing",
    [
        {"method": "coconut", "uniform_prob": 0.5},
        {"method": "icot", "internalize_smoothing": 0.5},
        {"method": "icot", "internalize_smoothing": 0.5, "internalize_unit": "token"},
    ],
)
def test_the_loss_is_that_of_the_stage(tmp_path, drawing):
    """Equal weights have equal losses in every epoch; training rows are drawn anew."""
    settings = {**drawing, "first_stage": 1, "generate_in_eval": False, "per_device_eval_batch_size": 16}
    trainer = make_trainer(tmp_path, **settings)
    losses, batches = [], []
    for epoch in range(3):
        trainer.state.epoch = float(epoch)
        losses.append(trainer.evaluate(uneven_problems(16))["eval_loss"])
        batches.append(batch_of(trainer, list(range(16)))["views"]["latent"]["input_ids"].tolist())
    assert losses[0] == losses[1] == losses[2]
    assert batches[0] != batches[1]
    scheduled = {**settings, "uniform_prob": 0.0, "internalize_smoothing": 0.0}
    assert make_trainer(tmp_path, **scheduled).evaluate(uneven_problems(16))["eval_loss"] == losses[0]


# ---- random numbers ----


def noisy(trainer) -> None:
    """Have the base model draw in every pass, also outside training, as routers with jitter may."""

    def hook(module, arguments, output):
        return output + 0.5 * torch.rand_like(output) + 0.1 * random.random() + 0.1 * numpy.random.rand()

    trainer.model.base.transformer.h[0].mlp.register_forward_hook(hook)


def test_evaluations_leave_no_trace(tmp_path):
    """A run with evaluations, of a model that draws in each of them, has the weights of a run without."""
    settings = {"number": 16, "max_steps": 4, "first_stage": 1, "steps_per_stage": 2, "uniform_prob": 0.3}

    def run(name, **changes):
        trainer = make_trainer(tmp_path / name, base=with_dropout(), **settings, **changes)
        noisy(trainer)
        trainer.train()
        return trainer

    evaluation = {"eval_dataset": uneven_problems(3), "eval_strategy": "no", "callbacks": [EveryStep()]}
    without, beside = run("without"), run("with", **evaluation, eval_on_start=True)
    assert sum("eval_loss" in entry for entry in beside.state.log_history) == 5
    assert history(without, "loss", "grad_norm") == history(beside, "loss", "grad_norm")
    for one, other in zip(without.model.parameters(), beside.model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_what_evaluation_draws_is_the_same_twice(tmp_path):
    trainer = make_trainer(tmp_path, base=with_dropout(), first_stage=2)
    noisy(trainer)
    first, again = (trainer.evaluate(uneven_problems(5)) for _ in range(2))
    assert {name: first[name] for name in MEASURED} == {name: again[name] for name in MEASURED}


def test_random_numbers_go_on():
    def draw():
        return random.random(), numpy.random.rand(), torch.rand(1).item()

    random.seed(1), numpy.random.seed(1), torch.manual_seed(1)
    expected = [draw(), draw()]
    random.seed(1), numpy.random.seed(1), torch.manual_seed(1)
    inside, found = [], [draw()]
    for _ in range(2):
        with own_random_numbers(7):
            inside.append(draw())
    assert [*found, draw()] == expected
    assert inside[0] == inside[1]


# ---- precision ----


def test_before_and_after_training_began(tmp_path):
    """Mixed precision counts in an evaluation before training too, as in one that training asks for."""
    settings = {"first_stage": 2, "learning_rate": 0.0, "number": 8, "eval_dataset": uneven_problems(6)}
    trainer = make_trainer(tmp_path / "a", bf16=True, eval_strategy="steps", eval_steps=1, max_steps=1, **settings)
    before = trainer.evaluate()
    trainer.train()
    within = next(entry for entry in trainer.state.log_history if "eval_loss" in entry and "epoch" in entry)
    assert before["eval_loss"] == within["eval_loss"] == trainer.evaluate()["eval_loss"]
    plain = make_trainer(tmp_path / "b", **settings).evaluate()
    assert before["eval_loss"] != plain["eval_loss"]
    assert before["eval_loss"] == pytest.approx(plain["eval_loss"], rel=1e-2)


@pytest.mark.parametrize(("name", "dtype"), [("bf16_full_eval", torch.bfloat16), ("fp16_full_eval", torch.float16)])
def test_full_evaluation(tmp_path, name, dtype):
    """Evaluation has parameters of the type, about the same loss, and gives every bit of the parameters back."""
    trainer = make_trainer(tmp_path, first_stage=2, eval_dataset=uneven_problems(6), **{name: True})
    before = {key: value.clone() for key, value in trainer.model.state_dict().items()}
    types = set()
    hook = trainer.model.base.lm_head.register_forward_hook(lambda module, given, output: types.add(output.dtype))
    found = trainer.evaluate()["eval_loss"]
    hook.remove()
    assert types == {dtype}
    assert all(torch.equal(value, before[key]) for key, value in trainer.model.state_dict().items())
    expected = make_trainer(tmp_path, first_stage=2).evaluate(uneven_problems(6))["eval_loss"]
    assert found != expected
    assert found == pytest.approx(expected, rel=2e-2)
