"""Every field of the stock training arguments and every argument of the stock trainer: honoured, or refused in one line."""

import inspect
import re
from dataclasses import fields
from pathlib import Path

import pytest
from training import make_trainer, uneven_problems
from transformers import Trainer, TrainingArguments
from transformers.trainer_pt_utils import AcceleratorConfig

from latent_trainer import LatentTrainer, LatentTrainingArguments
from latent_trainer.cli import main
from latent_trainer.errors import InputError
from latent_trainer.training.inherited import ARGUMENTS, FIELDS

TESTS = Path(__file__).resolve().parents[1]


def listed(entries) -> list[str]:
    return [name for entry in entries for name in entry.names.split()]


def refused(entries) -> dict[str, object]:
    return {name: entry.refusal.example for entry in entries if entry.refusal for name in entry.names.split()}


def one_line(call, *words) -> None:
    with pytest.raises(InputError) as caught:
        call()
    assert len(str(caught.value).splitlines()) == 1
    assert all(word in str(caught.value) for word in words), caught.value


@pytest.mark.parametrize(
    "looks_up",
    [
        {"feedback": "soft"},
        {"feedback": "fused"},
        {"feedback": "hidden", "feedback_options": {"norm": "embedding"}},
    ],
)
def test_noise_on_embeddings_is_refused_where_a_feedback_looks_some_up(tmp_path, looks_up):
    words = ["neftune_noise_alpha", f"feedback={looks_up['feedback']}"]
    one_line(lambda: make_trainer(tmp_path, neftune_noise_alpha=1.0, **looks_up), *words)


def test_every_field_has_a_line():
    stock = {one.name for one in fields(TrainingArguments)}
    stock |= {f"accelerator_config.{one.name}" for one in fields(AcceleratorConfig)}
    assert stock <= set(listed(FIELDS))


def test_every_argument_has_a_line():
    assert set(inspect.signature(Trainer.__init__).parameters) - {"self"} == set(listed(ARGUMENTS))
    assert {"data_collator", "processing_class"} <= set(inspect.signature(LatentTrainer.__init__).parameters)


def test_no_line_stands_twice():
    for entries in (FIELDS, ARGUMENTS):
        assert len(listed(entries)) == len(set(listed(entries)))


def test_the_tests_of_the_table_exist():
    source = "\n".join(path.read_text(encoding="utf-8") for path in TESTS.rglob("test_*.py"))
    there = set(re.findall(r"^def (test_\w+)\(", source, re.MULTILINE))
    assert {entry.test for entry in FIELDS + ARGUMENTS if entry.test} <= there


@pytest.mark.parametrize("name", refused(FIELDS))
def test_refused_fields(tmp_path, name):
    owner, _, field = name.rpartition(".")
    example = refused(FIELDS)[name]
    boolean = name == "torch_compile"  # the others of its line are texts
    settings = {owner: {field: example}} if owner else {name: True if boolean else example}
    one_line(lambda: LatentTrainingArguments(str(tmp_path), **settings), name)


@pytest.mark.parametrize("name", refused(ARGUMENTS))
def test_refused_arguments(tmp_path, name):
    one_line(lambda: make_trainer(tmp_path, **{name: refused(ARGUMENTS)[name]}), name)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"fp16": True}, ["fp16", "bf16"]),
        ({"use_liger_kernel": True, "label_smoothing_factor": 0.1}, ["label_smoothing_factor", "use_liger_kernel"]),
        ({"push_to_hub": True, "hub_strategy": "checkpoint"}, ["hub_strategy"]),
        ({"max_steps": 0}, ["max_steps"]),
        ({"train_sampling_strategy": "batch_rebalance"}, ["train_sampling_strategy"]),
        ({"include_for_metrics": ["inputs", "loss"]}, ["include_for_metrics"]),
        ({"prediction_loss_only": True, "advance_at": 0.5, "eval_strategy": "epoch"}, ["advance_at", "generate_in_eval"]),
    ],
)
def test_combinations_that_are_refused(tmp_path, settings, words):
    one_line(lambda: LatentTrainingArguments(str(tmp_path), use_cpu=True, **settings), *words)


def test_launches_that_are_refused(tmp_path, monkeypatch):
    """What a launcher asks for through the environment is refused as an argument of the same meaning is."""
    monkeypatch.setenv("ACCELERATE_DYNAMO_BACKEND", "EAGER")
    one_line(lambda: make_trainer(tmp_path), "dynamo_backend")
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "fp16")
    one_line(lambda: make_trainer(tmp_path), "fp16", "bf16")


def test_predictions_of_the_command(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main("train", ["--dataset", "arithmetic", "--do_predict", "--output_dir", str(tmp_path)])
    assert "do_predict=True" in capsys.readouterr().err


def test_an_accelerator_configuration_in_a_file(tmp_path):
    (tmp_path / "config.json").write_text('{"split_batches": true}')
    path = str(tmp_path / "config.json")
    one_line(lambda: LatentTrainingArguments(str(tmp_path), accelerator_config=path), "accelerator_config.split_batches")


def test_arguments_that_clash(tmp_path):
    metrics = {"compute_metrics": lambda written: {}}
    one_line(lambda: make_trainer(tmp_path, **metrics, generate_in_eval=False), "compute_metrics", "generate_in_eval")
    one_line(lambda: make_trainer(tmp_path, **metrics, prediction_loss_only=True), "compute_metrics", "prediction_loss_only")
    one_line(
        lambda: make_trainer(tmp_path, model_init=lambda: None, optimizers=(object(), None)), "optimizers", "model_init"
    )
    trainer = make_trainer(tmp_path, number=3, dataloader_drop_last=True)
    one_line(trainer.train, "dataloader_drop_last")
    one_line(lambda: trainer.train(ignore_keys_for_eval=["x"]), "ignore_keys_for_eval")
    one_line(lambda: trainer.evaluate(uneven_problems(2), ignore_keys=["x"]), "ignore_keys")


def test_arguments_of_stock(tmp_path, monkeypatch):
    """Stock training arguments lack what latents need; a name nobody has is named."""
    monkeypatch.chdir(tmp_path)  # the default folder is made where one stands
    trainer = make_trainer(tmp_path)
    rest = {"processing_class": trainer.processing_class, "train_dataset": uneven_problems(4)}
    stock = TrainingArguments(str(tmp_path), use_cpu=True)
    one_line(lambda: LatentTrainer(trainer.model, stock, **rest), "LatentTrainingArguments")
    one_line(lambda: LatentTrainer(trainer.model, trainer.args, **rest, tokenizer=1), "tokenizer")
    one_line(lambda: LatentTrainer(None, trainer.args, **rest), "model_init")
    assert LatentTrainer(trainer.model, **rest).args.output_dir == "tmp_trainer"
