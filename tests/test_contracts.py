"""One contract for every method, and for combinations nobody has published: train, resume, save, reload, generate.

Every method runs on GPT-2 with all weights and with adapters; on each other architecture, and in the combinations, one of
the two, in turns.
"""

import itertools
import math
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from conftest import make_base, sharpen, take_exact_norms
from peft import LoraConfig, get_peft_model
from reference import assert_close
from training import QUICK, batch_of, history

from latent_trainer import LatentForCausalLM, LatentTrainer, LatentTrainingArguments, encode_prompts, load_problems
from latent_trainer.data.tokenizer import train_tokenizer
from latent_trainer.errors import InputError
from latent_trainer.methods.presets import METHODS
from latent_trainer.model.adapters import latent_model

# What makes a preset quick: every step of a run is at a new stage, thoughts are short; the last stage is reached at step 3.
QUICKER = {
    "staged": {"latents_per_step": 1, "max_stage": 1, "steps_per_stage": [1]},
    "internalize": {"max_stage": 1, "steps_per_stage": [1]},
    "fixed": {"num_latents": 4},
    "compressed": {"curriculum_options": {"max_compression": 3, "max_latents": 6}},
}
COMBINATIONS = {
    "coconut + jacobi": {"method": "coconut", "rollout": "jacobi", "rollout_options": {"iterations": 2}},
    "coconut + soft": {"method": "coconut", "feedback": "soft", "feedback_options": {"top_k": 5}},
    "coconut + self-distillation": {"method": "coconut", "objective": "self_distillation", "feedback": "projection"},
    "coconut inside, last": {"method": "coconut", "remaining_steps": "inside", "backprop": "last"},
    "codi + step decoder": {"method": "codi", "step_decoder": "copy", "step_decoder_group": 2},
    "lotus, three slots": {"method": "lotus", "latents_per_step": 3, "max_stage": 2, "last_stage": 2},
    "lotus + step decoder": {"method": "lotus", "step_decoder": "copy", "feedback": "projection"},
    "mux + jacobi": {"method": "mux", "rollout": "jacobi", "feedback": "soft", "feedback_options": {"top_k": 5}},
    "pccot + shared step decoder": {"method": "pccot", "step_decoder": "shared", "feedback": "projection"},
}


def settings_of(case: str) -> dict:
    """Return the training arguments of a method or a combination."""
    settings = {"method": case} if case in METHODS else COMBINATIONS[case]
    preset = METHODS[settings["method"]].defaults
    quicker = QUICKER[preset["curriculum"]] if preset["curriculum"] != "fixed" or preset["num_latents"] else {}
    return {**quicker, **settings}


def cases() -> list:
    """Return case, architecture and whether there are adapters: the product for GPT-2, a part of it for the rest."""
    chosen = list(itertools.product(METHODS, ["gpt2"], (False, True)))
    for shift, architecture in enumerate(("llama", "qwen3")):
        chosen += [(case, architecture, bool((number + shift) % 2)) for number, case in enumerate(METHODS)]
    chosen += [(case, "gpt2", bool(number % 2)) for number, case in enumerate(COMBINATIONS)]
    return [pytest.param(one, id=f"{one[0]}-{one[1]}-{'lora' if one[2] else 'full'}") for one in chosen]


@dataclass
class Run:
    """A finished run: its trainer, its folder, and how to make the same trainer again."""

    trainer: LatentTrainer
    folder: Path
    again: callable


class Recorder(LatentTrainer):
    """Keep the loss of every step in the model's own precision; the stock trainer adds up in float32."""

    def compute_loss(self, model, inputs, *args, **kwargs):
        loss = super().compute_loss(model, inputs, *args, **kwargs)
        steps = self.__dict__.setdefault("losses", {})
        steps[self.state.global_step] = steps.get(self.state.global_step, 0.0) + loss.item()
        return loss


@pytest.fixture(scope="module", autouse=True)
def exact():
    with pytest.MonkeyPatch.context() as patch:
        take_exact_norms(patch)
        yield


@pytest.fixture(scope="module")
def problems() -> list[dict]:
    """Chains of two to four operations, so that questions, steps and latents differ from row to row."""
    sets = [load_problems("arithmetic", "train", size=8, operations=operations) for operations in (4, 2, 3)]
    return [row for rows in zip(*sets, strict=True) for row in rows][:20]


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    """Return a function that names the folder of a base model, and makes it where there is none."""
    folder = tmp_path_factory.mktemp("bases")

    def name(architecture: str, vocab_size: int) -> str:
        if not (folder / architecture).exists():
            make_base(architecture, vocab_size=vocab_size).save_pretrained(folder / architecture)
        return str(folder / architecture)

    return name


def make_tokenizer(problems):
    return train_tokenizer([" ".join([row["question"], *row["steps"], "=", row["answer"]]) for row in problems])


@pytest.fixture(scope="module", params=cases())
def run(request, tmp_path_factory, problems, bases) -> Run:
    """Three steps of a case, the last with four rows only, and a checkpoint before it."""
    case, architecture, adapters = request.param
    folder = tmp_path_factory.mktemp("run")

    def make(output: Path, **changes) -> LatentTrainer:
        tokenizer = make_tokenizer(problems)
        name = bases(architecture, len(tokenizer))
        model = LatentForCausalLM.from_base(name, tokenizer=tokenizer, dtype=torch.float64)
        settings = {**QUICK, "latents_per_step": None, "max_stage": None, "max_steps": 3, "lr_scheduler_type": "constant"}
        settings |= {**settings_of(case), **changes}
        args = LatentTrainingArguments(str(output), **settings)
        lora = LoraConfig(r=2, init_lora_weights=False) if adapters else None
        torch.manual_seed(0)
        return Recorder(model, args, train_dataset=problems, processing_class=tokenizer, peft_config=lora)

    trainer = make(folder, save_strategy="steps", save_steps=2)
    trainer.train()
    return Run(trainer, folder, make)


def test_trains(run):
    """Losses and gradients are finite, from the first stage of the curriculum to the last."""
    curve = history(run.trainer, "loss", "grad_norm")
    assert [step for step, *_ in curve] == [1, 2, 3]
    assert all(math.isfinite(loss) and loss > 0 and math.isfinite(norm) and norm > 0 for _, _, loss, norm in curve)
    assert [stage for _, stage, *_ in curve] == ([0, 0, 0] if run.trainer.curriculum.num_stages == 1 else [0, 1, 2])


def test_resumes(run, tmp_path):
    """A run that was killed in the middle of its epoch ends as one that never stopped."""
    shutil.copytree(run.folder / "checkpoint-2", tmp_path / "checkpoint-2")
    again = run.again(tmp_path)
    again.train(resume_from_checkpoint=True)
    assert history(again, "loss", "grad_norm") == history(run.trainer, "loss", "grad_norm")
    found, expected = again.model.state_dict(), run.trainer.model.state_dict()
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name


def test_reloads_and_generates(run, tmp_path, problems):
    """What was saved has the same logits and writes the same text, a row alone or in a batch."""
    trainer = run.trainer
    trainer.save_model(str(tmp_path))
    loaded = LatentForCausalLM.from_pretrained(str(tmp_path)).eval()
    model, config = trainer.model.eval(), latent_model(trainer.model).config
    thought = ("num_latents", "open_thought", "template")
    for name in (*thought, "feedback", "feedback_options", "rollout", "rollout_options", "backprop"):
        assert getattr(loaded.config, name) == getattr(config, name), name
    questions = [row["question"] for row in problems[:3]]

    def outcome(model, questions):
        batch = encode_prompts(questions, trainer.processing_class, config.prompt_latents, config.template)
        with torch.no_grad():
            last = model(**batch).logits[:, -1]
            rows = model.generate(**batch, max_new_tokens=5, min_new_tokens=5, do_sample=False)
        return last, rows[:, batch["input_ids"].shape[1] :].tolist()

    logits, texts = outcome(model, questions)
    found, written = outcome(loaded, questions)
    assert_close(found, logits, 1e-9)
    assert written == texts
    found, written = outcome(loaded, questions[1:2])
    assert_close(found[0], logits[1], 1e-9)
    assert written == texts[1:2]
    model.train()


def test_padding_invariant(run):
    """The losses of a row and what its objective reads of it do not depend on the rows beside it."""
    trainer = run.trainer
    rows = list(range(8))

    def outputs(indices):
        batch = batch_of(trainer, indices)
        counts = {name: (view["labels"] != -100).sum(1).tolist() for name, view in batch["views"].items()}
        if "steps" in batch:
            steps = batch["steps"]
            scored = (steps["labels"] != -100).sum(1)
            counts["steps"] = [int(scored[steps["row"] == row].sum()) for row in range(len(indices))]
        with torch.no_grad():
            return trainer._outputs(trainer.model, batch), counts

    together, counts = outputs(rows)
    assert len({len(trainer.rows[row].prompt) for row in rows}) == 3
    for row in rows[:3]:
        alone, own = outputs([row])
        assert alone.keys() == together.keys()
        for name, output in alone.items():
            start = sum(counts[name][:row])
            assert own[name] == [counts[name][row]] == [len(output.token_loss)]
            assert_close(output.token_loss, together[name].token_loss[start : start + own[name][0]], 1e-9)
            for place, layers in (output.hidden_states or {}).items():
                for layer, others in zip(layers, together[name].hidden_states[place], strict=True):
                    assert_close(layer[0], others[row][: len(layer[0])], 1e-9)  # a row's own come first
            for place, given in (output.inputs or {}).items():
                assert_close(given[0], together[name].inputs[place][row][: len(given[0])], 1e-9)


def test_batch_and_accumulation(run, tmp_path):
    """8 x 1 and 1 x 8 are the same run."""
    last = min(run.trainer.stages.last_stage, 1)
    trainer = run.again(tmp_path, per_device_train_batch_size=1, gradient_accumulation_steps=8, max_steps=2, last_stage=last)
    trainer.train()
    assert list(trainer.losses) == [0, 1]
    for step, loss in trainer.losses.items():
        assert loss == pytest.approx(run.trainer.losses[step], rel=1e-9)
    found, expected = ([norm for *_, norm in history(one, "grad_norm")] for one in (trainer, run.trainer))
    assert found == pytest.approx(expected[:2], rel=1e-9)


# ---- what makes no sense ----


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"method": "codi", "keep_steps": True}, "makes student and teacher the same"),
        ({"method": "cot", "objective": "self_distillation"}, "makes student and teacher the same"),
        ({"method": "pause", "rollout": "jacobi"}, "nothing to refine with feedback=learned"),
        ({"method": "coconut", "rollout": "jacobi", "backprop": "last"}, "backprop=last counts latents one by one"),
        ({"method": "pccot", "backprop": 2}, "backprop=2 counts latents one by one"),
        ({"method": "pccot", "rollout_options": {"iterations": 0}}, "iterations=0 must be at least 1"),
        ({"method": "coconut", "rollout_options": {"iterations": 3}}, "rollout 'sequential' has no option 'iterations'"),
        ({"method": "pccot", "rollout_options": {"iteration": 3}}, "did you mean 'iterations'?"),
        ({"method": "pause", "step_decoder": "copy"}, "feedback=learned puts the same embedding in every latent"),
        ({"method": "no_cot", "step_decoder": "shared"}, "there are no latents"),
        ({"method": "codi", "objective_options": {"distance": "l3"}}, "distance='l3' is not one of smooth_l1, l2"),
        ({"method": "codi", "objective_options": {"factors": 2}}, "did you mean 'factor'?"),
        ({"method": "soft_thinking", "feedback_options": {"temperature": 0.0}}, "temperature=0.0 must be above 0"),
    ],
    ids=lambda value: " ".join(map(str, value.values())) if isinstance(value, dict) else "",
)
def test_refused(tmp_path, problems, changes, says):
    """The reason is one line, and nothing has been written."""
    tokenizer = make_tokenizer(problems)
    model = LatentForCausalLM.from_base(sharpen(make_base(vocab_size=len(tokenizer))), tokenizer=tokenizer)
    with pytest.raises(InputError) as caught:
        args = LatentTrainingArguments(str(tmp_path / "out"), **changes, use_cpu=True)
        LatentTrainer(model, args, train_dataset=problems, processing_class=tokenizer)
    assert says in str(caught.value) and len(str(caught.value).splitlines()) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("method", METHODS)
def test_adapters_made_before(tmp_path, problems, method):
    """A model that comes with adapters trains with every method that adds no weights; others say what to do instead."""
    tokenizer = make_tokenizer(problems)
    model = LatentForCausalLM.from_base(make_base(vocab_size=len(tokenizer)), tokenizer=tokenizer)
    model = get_peft_model(model, LoraConfig(r=2, target_modules=["c_attn"], fan_in_fan_out=True))
    settings = {**QUICK, "latents_per_step": None, "max_stage": None, "max_steps": 1, "last_stage": 0, **settings_of(method)}
    args = LatentTrainingArguments(str(tmp_path), **settings)
    adds = {"codi": "feedback=projection", "kava": "feedback=projection", "sim_cot": "step_decoder=copy"}
    adds |= {"colar": "feedback=gaussian"}
    if method in adds:
        with pytest.raises(InputError, match=f"{adds[method]} adds weights that .*; give LatentTrainer a peft_config"):
            LatentTrainer(model, args, train_dataset=problems, processing_class=tokenizer)
    else:
        trainer = LatentTrainer(model, args, train_dataset=problems, processing_class=tokenizer)
        trainer.train()
        assert math.isfinite(history(trainer, "loss")[0][2])
