"""`LatentTrainer`: every method trains, the right weights move, evaluation, logging, saving and what a `Trainer` offers."""

import json
import math

import pytest
import torch
import yaml
from conftest import make_base
from peft import LoraConfig
from training import QUICK, batch_of, has_stages, history, make_tokenizer, make_trainer, quick, uneven_problems
from transformers import AutoTokenizer, TrainerCallback

from latent_trainer import LatentForCausalLM, LatentTrainer, LatentTrainingArguments, encode_prompts
from latent_trainer.cli import main
from latent_trainer.data import resolve_template
from latent_trainer.methods.presets import METHODS
from latent_trainer.model.adapters import latent_model

PRESET = {"latents_per_step": None, "max_stage": None}  # leaves both to the method
QUESTIONS = [problem.question for problem in uneven_problems(8)]


def parameters(trainer) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in trainer.model.named_parameters()}


def logits(model, tokenizer, template, num_latents: int = 2) -> torch.Tensor:
    batch = encode_prompts(QUESTIONS, tokenizer, num_latents, template)
    with torch.no_grad():
        return model.eval()(**batch).logits[batch["attention_mask"].bool()]


def greedy(model, tokenizer, template, num_latents: int = 2) -> list[str]:
    batch = encode_prompts(QUESTIONS, tokenizer, num_latents, template)
    written = model.eval().generate(**batch, max_new_tokens=6, do_sample=False)[:, batch["input_ids"].shape[1] :]
    return tokenizer.batch_decode(written)


# ---- training ----


@pytest.mark.parametrize("adapters", [False, True], ids=["full", "lora"])
@pytest.mark.parametrize("method", METHODS)
def test_method(tmp_path, method, adapters):
    """Each preset goes through its stages with finite losses and moves all that should move, and nothing else."""
    stages = {"steps_per_stage": 1, "max_steps": 6} if has_stages(method) else {"max_steps": 3}
    lora = {"peft_config": LoraConfig(r=2)} if adapters else {}
    trainer = make_trainer(tmp_path, **{**PRESET, "method": method, **stages, **lora})
    before = parameters(trainer)
    trainer.train()
    for name, value in METHODS[method].defaults.items():
        if name not in ("epochs_per_stage", "num_train_epochs"):
            taken = getattr(trainer.args, name)  # a part's options hold what they share with the curriculum, too
            assert (value.items() <= taken.items()) if isinstance(value, dict) else taken == value
    curve = history(trainer, "loss", "grad_norm")
    assert len(curve) == trainer.args.max_steps
    assert all(math.isfinite(loss) and loss > 0 and math.isfinite(norm) and norm > 0 for _, _, loss, norm in curve)
    moved = {name for name, parameter in parameters(trainer).items() if not torch.equal(parameter, before[name])}
    trainable = {name for name, parameter in trainer.model.named_parameters() if parameter.requires_grad}
    assert moved == trainable
    if adapters:
        kinds = ("lora_A", "lora_B", "trainable_tokens_delta", "modules_to_save")
        assert all(any(kind in name for kind in kinds) for name in moved)
    else:
        assert trainable == set(before)


def test_methods_differ(tmp_path):
    """What a row looks like in the last stage of every method."""
    seen = {}
    for method in METHODS:
        last = 4 if has_stages(method) else 0
        trainer = make_trainer(tmp_path, **PRESET, method=method, first_stage=last)
        encoder = trainer.batches.encoder
        view = batch_of(trainer, [3])["views"]["latent"]["input_ids"][0].tolist()
        seen[method] = (view.count(encoder.latent), view.count(encoder.bot), len(view))
    answer = 3  # "=", the digit and end of text
    assert seen["cot"] == (0, 0, 7 + answer)
    assert seen["no_cot"] == seen["icot"] == (0, 0, answer)
    assert seen["pause"] == (6, 1, 8 + answer)
    assert seen["answer_only"] == (10, 0, 10 + answer)
    assert seen["coconut"] == (6, 1, 8 + answer)


def test_every_preset_that_has_stages_leaves_the_first(tmp_path):
    for method in METHODS:
        if has_stages(method):
            trainer = make_trainer(tmp_path / method, **PRESET, method=method, num_train_epochs=4)
            trainer.train()
            assert len({stage for _, stage in history(trainer)}) > 1, method


def test_training_learns(tmp_path):
    """Eight problems are learned by heart through two latents, and generation finds all answers again."""
    changes = {"first_stage": 3, "pad_latent_to_max": True, "number": 8, "max_steps": 60, "eval_dataset": uneven_problems(8)}
    trainer = make_trainer(tmp_path, **changes)
    before = trainer.evaluate()
    trainer.train()
    after = trainer.evaluate()
    assert before["eval_accuracy"] < 0.5
    assert after["eval_accuracy"] == after["eval_accuracy_flexible"] == 1.0
    assert after["eval_loss"] < 0.1 * before["eval_loss"]


def test_model_as_a_string(tmp_path):
    tokenizer = make_tokenizer()
    make_base(vocab_size=len(tokenizer), dtype=torch.float32).save_pretrained(tmp_path / "base")
    args = LatentTrainingArguments(str(tmp_path / "out"), **quick(max_steps=1, last_stage=0))
    problems = uneven_problems(8)
    trainer = LatentTrainer(str(tmp_path / "base"), args, train_dataset=problems, processing_class=tokenizer)
    trainer.train()
    assert trainer.model.config.base_name_or_path == str(tmp_path / "base")
    assert trainer.model.config.latent_token_id == tokenizer.get_vocab()["<|latent|>"]


def test_two_models_with_one_tokenizer():
    """A tokenizer that has the thought tokens already still makes room for them in the next model."""
    tokenizer = make_tokenizer()
    vocab_size = len(tokenizer)
    models = [LatentForCausalLM.from_base(make_base(vocab_size=vocab_size), tokenizer=tokenizer) for _ in range(2)]
    for first, second in zip(*(model.parameters() for model in models), strict=True):
        assert torch.equal(first, second)
    assert models[1].config.vocab_size == vocab_size + 3


# ---- evaluation ----


def test_evaluate(tmp_path):
    trainer = make_trainer(tmp_path, eval_dataset=uneven_problems(9), first_stage=3)
    trainer.model.train()
    metrics = trainer.evaluate()
    assert trainer.model.training
    assert set(metrics) == {
        "stage",
        *("eval_loss", "eval_accuracy", "eval_accuracy_stderr", "eval_accuracy_flexible", "eval_invalid", "eval_problems"),
        *("eval_accuracy_low", "eval_accuracy_high", "eval_accuracy_flexible_stderr"),
        *("eval_tokens_written", "eval_latents", "eval_passes", "eval_prefill_seconds", "eval_decode_seconds"),
        *("eval_seconds_per_problem", "eval_dropped", "eval_dropped_from_loss", "eval_unreachable", "epoch"),
    } - ({"epoch"} - set(metrics))
    share = metrics["eval_accuracy"]
    assert metrics["eval_accuracy_stderr"] == pytest.approx(math.sqrt(share * (1 - share) / 9))
    assert metrics["eval_problems"] == 9
    assert metrics["eval_latents"] == 2
    assert 1 <= metrics["eval_tokens_written"] <= 6
    prefixed = trainer.evaluate(uneven_problems(3), metric_key_prefix="test")
    assert prefixed["test_problems"] == 3


def test_evaluation_loss_does_not_depend_on_the_batch(tmp_path):
    losses = []
    for batch in (1, 4, 9):
        trainer = make_trainer(tmp_path, dtype=torch.float64, per_device_eval_batch_size=batch, first_stage=3)
        losses.append(trainer.evaluate(uneven_problems(9))["eval_loss"])
    assert losses[1:] == pytest.approx([losses[0]] * 2, rel=1e-6)


def test_evaluation_loss_is_the_training_loss_without_updates(tmp_path):
    trainer = make_trainer(tmp_path, number=8, first_stage=1, learning_rate=0.0, max_steps=1)
    trainer.train()
    assert trainer.evaluate(uneven_problems(8))["eval_loss"] == pytest.approx(history(trainer, "loss")[0][2], rel=1e-5)


def test_evaluate_at_another_stage(tmp_path):
    """The model as it is, evaluated as at a stage; the stage of training stays."""
    trainer = make_trainer(tmp_path, eval_dataset=uneven_problems(9), first_stage=1)
    at_zero = trainer.evaluate(stage=0)
    at_last = trainer.evaluate(stage=3)
    here = trainer.evaluate()
    assert [metrics["stage"] for metrics in (at_zero, at_last, here)] == [0, 3, 1]
    assert [metrics["eval_latents"] for metrics in (at_zero, at_last, here)] == [0, 2, 1]
    assert trainer.model.config.num_latents == 1
    for stage, metrics in ((0, at_zero), (3, at_last)):
        other = make_trainer(tmp_path, eval_dataset=uneven_problems(9), first_stage=stage).evaluate()
        assert metrics["eval_loss"] == pytest.approx(other["eval_loss"], rel=1e-6)
        assert metrics["eval_tokens_written"] == other["eval_tokens_written"]


def test_evaluate_several_data_sets(tmp_path):
    trainer = make_trainer(tmp_path, eval_dataset={"short": uneven_problems(2), "long": uneven_problems(7)})
    metrics = trainer.evaluate()
    assert (metrics["eval_short_problems"], metrics["eval_long_problems"]) == (2, 7)


def test_evaluate_without_generation(tmp_path):
    metrics = make_trainer(tmp_path, generate_in_eval=False).evaluate(uneven_problems(3))
    assert "eval_loss" in metrics
    assert "eval_accuracy" not in metrics


def test_evaluate_drops_what_does_not_fit(tmp_path):
    long = {"question": " ".join(["1"] * 200), "answer": "1"}
    assert make_trainer(tmp_path).evaluate([*uneven_problems(3), long])["eval_dropped"] == 1


# ---- stages ----


def test_advance_by_accuracy(tmp_path):
    """A bar nobody reaches keeps the stage; one that everybody reaches ends it at every evaluation."""
    evaluation = {"eval_dataset": uneven_problems(4), "eval_strategy": "steps", "eval_steps": 2, "max_steps": 6}
    never = make_trainer(tmp_path / "never", advance_at=1.0, **evaluation)
    never.train()
    assert {stage for _, stage in history(never)} == {0}
    always = make_trainer(tmp_path / "always", advance_at=0.0, **evaluation)
    always.train()
    assert [stage for _, stage in history(always)] == [0, 0, 1, 1, 2, 2]
    assert always.model.config.num_latents == 2  # the stage it was trained at, although that is passed as well


def test_evaluation_at_another_stage_advances_nothing(tmp_path):
    class Look(TrainerCallback):
        def on_step_begin(self, args, state, control, **kwargs):
            trainer.evaluate(stage=3)
            trainer.evaluate(metric_key_prefix="test")

    evaluation = {"eval_dataset": uneven_problems(2), "eval_strategy": "steps", "eval_steps": 10, "max_steps": 3}
    trainer = make_trainer(tmp_path, advance_at=0.0, callbacks=[Look()], **evaluation)
    trainer.train()
    assert [stage for _, stage in history(trainer)] == [0, 0, 0]


def test_the_configuration_follows_the_stage(tmp_path):
    trainer = make_trainer(tmp_path, latents_per_step=3, steps_per_stage=1, max_steps=2)
    assert trainer.model.config.num_latents == 0
    trainer.train()
    assert trainer.model.config.num_latents == 3


# ---- logging ----


def test_stage_in_every_entry(tmp_path):
    trainer = make_trainer(
        tmp_path, steps_per_stage=1, max_steps=4, eval_dataset=uneven_problems(2), eval_strategy="steps", eval_steps=2
    )
    trainer.train()
    assert [(entry["step"], entry["stage"]) for entry in trainer.state.log_history] == [
        *((1, 0), (2, 1), (2, 1), (3, 2), (4, 3), (4, 3)),
        (4, 3),  # the summary of the run
    ]


@pytest.mark.parametrize(("every", "accumulation"), [(1, 1), (2, 2)])
def test_terms_are_logged_and_add_up(tmp_path, every, accumulation):
    trainer = make_trainer(
        tmp_path,
        objective="self_distillation",
        first_stage=3,
        max_steps=5,
        logging_steps=every,
        per_device_train_batch_size=8 // accumulation,
        gradient_accumulation_steps=accumulation,
    )
    trainer.train()
    curve = history(trainer, "loss", "loss_student", "loss_teacher", "loss_distill")
    assert len(curve) == 5 // every
    for _, _, loss, *terms in curve:
        assert sum(terms) == pytest.approx(loss, rel=1e-5)
        assert min(terms) > 0


def test_a_single_term_is_not_logged_twice(tmp_path):
    trainer = make_trainer(tmp_path, max_steps=1)
    trainer.train()
    assert not any(name.startswith("loss_") for entry in trainer.state.log_history for name in entry)


def test_tensorboard(tmp_path, monkeypatch):
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "board"))
    trainer = make_trainer(tmp_path / "out", report_to="tensorboard", max_steps=2, steps_per_stage=1)
    trainer.train()
    files = list((tmp_path / "board").rglob("events.out.tfevents.*"))
    assert any(b"train/stage" in file.read_bytes() for file in files)


def test_quiet_and_loud(tmp_path, capsys):
    evaluation = {"eval_dataset": uneven_problems(2), "max_steps": 1}
    trainer = make_trainer(tmp_path, **evaluation)
    trainer.train()
    trainer.evaluate()
    assert "it/s" not in capsys.readouterr().err
    trainer = make_trainer(tmp_path, disable_tqdm=False, **evaluation)
    trainer.train()
    trainer.evaluate()
    assert "generate" in capsys.readouterr().err


# ---- what any Trainer offers ----


def test_callbacks_and_max_steps(tmp_path):
    seen = []

    class Count(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            seen.append(state.global_step)

        def on_evaluate(self, args, state, control, metrics, **kwargs):
            seen.append(metrics["eval_problems"])

    evaluation = {"eval_dataset": uneven_problems(2), "eval_strategy": "steps", "eval_steps": 3}
    trainer = make_trainer(tmp_path, callbacks=[Count()], max_steps=4, num_train_epochs=99, **evaluation)
    trainer.train()
    assert seen == [1, 2, 3, 2, 4, 2]


def test_own_optimizer(tmp_path):
    """An optimizer given from outside is the one that steps."""
    base = make_trainer(tmp_path)
    optimizer = torch.optim.SGD(base.model.parameters(), lr=0.5)
    args = LatentTrainingArguments(str(tmp_path), **quick(max_steps=1, last_stage=0))
    rest = {"train_dataset": uneven_problems(8), "processing_class": base.processing_class}
    trainer = LatentTrainer(base.model, args, optimizers=(optimizer, None), **rest)
    before = parameters(trainer)
    trainer.train()
    assert trainer.optimizer.optimizer is optimizer
    assert not torch.equal(parameters(trainer)["base.transformer.wpe.weight"], before["base.transformer.wpe.weight"])


def test_save_total_limit(tmp_path):
    trainer = make_trainer(tmp_path, save_strategy="steps", save_steps=1, save_total_limit=2, max_steps=4)
    trainer.train()
    assert sorted(path.name for path in tmp_path.glob("checkpoint-*")) == ["checkpoint-3", "checkpoint-4"]


def test_best_model_comes_back(tmp_path):
    trainer = make_trainer(
        tmp_path,
        number=8,
        method="no_cot",
        max_steps=24,
        eval_dataset=uneven_problems(8),
        eval_strategy="steps",
        eval_steps=6,
        save_strategy="steps",
        save_steps=6,
        save_total_limit=1,
        load_best_model_at_end=True,
        metric_for_best_model="eval_accuracy",
        lr_scheduler_type="constant",
    )
    trainer.train()
    best = trainer.state.best_global_step
    accuracies = {entry["step"]: entry["eval_accuracy"] for entry in trainer.state.log_history if "eval_accuracy" in entry}
    assert len(set(accuracies.values())) > 1
    assert accuracies[best] == trainer.state.best_metric == max(accuracies.values())
    assert trainer.evaluate()["eval_accuracy"] == accuracies[best]
    assert (tmp_path / f"checkpoint-{best}").is_dir()


def test_the_best_model_is_the_best_of_its_stage(tmp_path):
    """A model that writes its steps often scores higher; a curriculum that drops them must not end with it."""
    trainer = make_trainer(
        tmp_path,
        steps_per_stage=2,
        max_steps=4,
        eval_dataset=uneven_problems(3),
        eval_strategy="steps",
        eval_steps=1,
        save_strategy="steps",
        save_steps=1,
        load_best_model_at_end=True,
        metric_for_best_model="eval_latents",  # smallest in the first stage
        greater_is_better=False,
    )
    trainer.train()
    assert trainer.state.best_model_checkpoint == str(tmp_path / "checkpoint-3")
    assert trainer.model.config.num_latents == 1
    saved = LatentForCausalLM.from_pretrained(tmp_path / "checkpoint-3")
    tokenizer = trainer.processing_class
    assert torch.equal(logits(saved, tokenizer, "plain"), logits(trainer.model, tokenizer, "plain"))


# ---- saving and loading ----


def test_saved_model(tmp_path):
    """The folder alone gives the same answers: latents, template and tokenizer are in it."""
    changes = {"first_stage": 2, "number": 8, "max_steps": 30, "remaining_steps": "inside"}
    trainer = make_trainer(tmp_path / "out", **changes)
    trainer.train()
    trainer.save_model()
    model = LatentForCausalLM.from_pretrained(str(tmp_path / "out"))
    tokenizer = AutoTokenizer.from_pretrained(str(tmp_path / "out"))
    assert model.config.num_latents == 2
    assert resolve_template(model.config.template) == trainer.batches.encoder.template
    assert model.config.template["remaining_steps"] == "inside"
    assert model.generation_config.use_cache
    template = model.config.template
    assert torch.equal(logits(model, tokenizer, template), logits(trainer.model, trainer.processing_class, template))
    answers = greedy(model, tokenizer, template)
    assert answers == greedy(trainer.model, trainer.processing_class, template)
    assert len(set(answers)) > 1


def saved_base(folder, architecture: str, rows: int = 0) -> str:
    """Save a base model and its tokenizer; the embedding has ``rows`` rows more than the tokenizer needs."""
    tokenizer = make_tokenizer()
    make_base(architecture, vocab_size=len(tokenizer) + rows, dtype=torch.float32).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def adapter_trainer(output, model, tokenizer, **changes):
    """Return a LoRA trainer of a given model."""
    args = LatentTrainingArguments(str(output), **quick(first_stage=2, last_stage=2, max_steps=3, **changes))
    rest = {"train_dataset": uneven_problems(16), "processing_class": tokenizer, "peft_config": LoraConfig(r=4)}
    return LatentTrainer(model, args, **rest)


def assert_reloads(folder, trainer) -> LatentForCausalLM:
    """Load an adapter's folder and compare it with the trainer's model; return what was loaded."""
    trained = latent_model(trainer.model)
    loaded = LatentForCausalLM.from_pretrained(str(folder))
    tokenizer = AutoTokenizer.from_pretrained(str(folder))
    assert type(loaded) is LatentForCausalLM
    template = trainer.batches.encoder.template
    assert resolve_template(loaded.config.template) == template
    assert loaded.config.num_latents == trained.config.num_latents
    assert loaded.config.feedback == trained.config.feedback
    expected = logits(trainer.model, trainer.processing_class, template)
    torch.testing.assert_close(logits(loaded, tokenizer, template), expected, rtol=1e-5, atol=1e-6)
    assert greedy(loaded, tokenizer, template) == greedy(trainer.model, trainer.processing_class, template)
    return loaded


@pytest.mark.parametrize("feedback", ["hidden", "projection"])
@pytest.mark.parametrize(("architecture", "rows"), [("gpt2", 0), ("llama", 0), ("llama", 7)])
def test_saved_adapter(tmp_path, architecture, rows, feedback):
    """Tied and untied embeddings, and a vocabulary padded beyond the tokenizer: token rows, feedback and LoRA all return."""
    base = saved_base(tmp_path / "base", architecture, rows)
    tokenizer = AutoTokenizer.from_pretrained(base)
    model = LatentForCausalLM.from_base(base, tokenizer=tokenizer)
    untrained = logits(model, tokenizer, "plain")
    trainer = adapter_trainer(tmp_path / "out", model, tokenizer, feedback=feedback)
    trainer.train()
    trainer.save_model()
    assert not (tmp_path / "out" / "model.safetensors").exists()
    loaded = assert_reloads(tmp_path / "out", trainer)
    assert (logits(loaded, tokenizer, "plain") - untrained).abs().max() > 1e-3
    loaded.save_pretrained(tmp_path / "merged")
    assert torch.equal(
        logits(LatentForCausalLM.from_pretrained(tmp_path / "merged"), tokenizer, "plain"),
        logits(loaded, tokenizer, "plain"),
    )


def test_adapter_on_a_saved_latent_model_and_on_an_adapter(tmp_path):
    """An adapter remembers what it was trained on: here a trained latent model, then the first adapter."""
    first = make_trainer(tmp_path / "latent", first_stage=2, max_steps=3)
    first.train()
    first.save_model()
    model, tokenizer = LatentForCausalLM.from_pretrained(str(tmp_path / "latent")), first.processing_class
    second = adapter_trainer(tmp_path / "adapter", model, tokenizer, feedback="projection")
    second.train()
    second.save_model()
    loaded = assert_reloads(tmp_path / "adapter", second)
    third = adapter_trainer(tmp_path / "further", loaded, tokenizer, feedback="projection")
    third.train()
    third.save_model()
    assert_reloads(tmp_path / "further", third)


def test_adapter_from_the_command_line(tmp_path, capsys):
    """Train with use_peft and evaluate the folder: the accuracy is the trainer's own."""
    rows = [{"question": problem.question, "steps": ["1"], "answer": problem.answer} for problem in uneven_problems(60)]
    (tmp_path / "data.jsonl").write_text("\n".join(map(json.dumps, rows)))
    settings = {
        **QUICK,
        "model_name_or_path": saved_base(tmp_path / "base", "gpt2"),
        "use_peft": True,
        "dataset": "jsonl",
        "dataset_path": str(tmp_path / "data.jsonl"),
        "output_dir": str(tmp_path / "out"),
        "max_steps": 10,
        "last_stage": 0,
        "eval_strategy": "steps",
        "eval_steps": 10,
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(settings))
    main("train", ["--config", str(tmp_path / "recipe.yaml")])
    trained = capsys.readouterr().out
    words = ["--dataset", "jsonl", "--dataset_path", str(tmp_path / "data.jsonl"), "--split", "validation"]
    main("evaluate", ["--model", str(tmp_path / "out"), *words, "--max_new_tokens", "6"])
    accuracy = capsys.readouterr().out.split("accuracy ")[1].split()[0]
    assert f"validation accuracy {float(accuracy):.3f}" in trained
