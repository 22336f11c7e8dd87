"""`latent-trainer reproduce`: what it says of every published run, and one carried out on a tiny model."""

import itertools
import json
import math

import pytest
import torch
import yaml
from conftest import make_base
from huggingface_hub import constants

from latent_trainer import bundled
from latent_trainer.cli import main
from latent_trainer.cli.reproduce import chain, comparison, global_batch, published_recipes
from latent_trainer.data.tokenizer import train_tokenizer


@pytest.mark.parametrize("name", published_recipes())
def test_dry_run(name, capsys):
    """The figure, its source, the data, the cost of every run on the way, and the commands."""
    main("reproduce", [name, "--dry_run"])
    lines = capsys.readouterr().out.splitlines()
    published = published_recipes()[name]
    assert (
        lines[0] == f"published: {published['figure']}" and published["commit"] in lines[1] and published["data"] in lines[2]
    )
    trainings = list(chain(name))
    assert [line.partition(":")[0] for line in lines].count("train") == len(trainings)
    assert sum(line.startswith("cost of ") for line in lines) == len(trainings) and lines[-1].startswith("test: ")


@pytest.mark.parametrize(
    ("recipe", "reads", "tested"), [("gpt2-coconut", "gsm8k_aug", "gsm8k"), ("prosqa/gpt2-coconut", "prosqa", "prosqa")]
)
def test_what_the_machine_lacks(recipe, reads, tested, tmp_path, monkeypatch, capsys):
    """GPUs, the model and data are named before anything starts; what is there is not."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)

    def lacks(*words: str) -> list[str]:
        main("reproduce", [recipe, "--dry_run", *words])
        lines = capsys.readouterr().out.splitlines()
        assert f"--dataset {tested}" in lines[-1]
        return [line.removeprefix("this machine lacks ") for line in lines if line.startswith("this machine lacks ")]

    gpus, model, *data = lacks()
    assert gpus.startswith("GPUs: none; the recipe is written for 4 of 24 GB") and "openai-community/gpt2" in model
    assert len(data) == len({reads, tested}) and all(name in line for name, line in zip((reads, tested), data, strict=False))
    (tmp_path / "models--openai-community--gpt2").mkdir()
    rows = tmp_path / "rows.json"
    rows.write_text("[]")
    assert lacks("--train_path", str(rows), "--test_path", str(rows)) == [gpus]
    assert lacks("--train_path", str(rows), "--test_path", "none.json") == [gpus, "data: none.json does not exist"]


def test_what_a_run_starts_from_comes_first():
    runs = list(chain("gsm8k/gpt2-sim-cot"))
    assert [run.recipe for run in runs] == ["gsm8k/gpt2-cot", "gsm8k/gpt2-coconut", "gsm8k/gpt2-sim-cot"]
    assert runs[1].changes["max_stage"] == 5 == runs[1].settings["max_stage"]
    assert [str(run.folder) for run in runs[:2]] == ["runs/gsm8k/gpt2-cot", "runs/gsm8k/gpt2-coconut-5"]
    for before, after in itertools.pairwise(runs):
        assert after.settings["model_name_or_path"] == str(before.folder)


@pytest.mark.parametrize("processes", [1, 2, 3, 4, 8, 64])
def test_the_global_batch_stays(processes, capsys):
    words = ["gpt2-coconut", "--dry_run", "--num_processes", str(processes)]
    if 128 % processes:
        with pytest.raises(SystemExit):
            main("reproduce", words)
        (line,) = capsys.readouterr().err.splitlines()
        assert "num_processes=3 does not divide the global batch of 128" in line
        return
    main("reproduce", words)
    for line in capsys.readouterr().out.splitlines():
        if line.startswith("train: "):
            given = line.split()
            number = {
                name: int(given[given.index(f"--{name}") + 1])
                for name in ("per_device_train_batch_size", "gradient_accumulation_steps")
            }
            assert math.prod(number.values()) * processes == 128


def test_comparison():
    line = comparison({"accuracy": 34.1, "accuracy_stderr": 1.5}, {"accuracy": 0.301, "accuracy_stderr": 0.02})
    assert line == "reproduced: 30.1 +- 2.0 %, published: 34.1 +- 1.5 %, -4.0 points, -1.6 standard errors"
    assert comparison({"accuracy": 50.0}, {"accuracy": 0.5, "accuracy_stderr": 0.1}).endswith(
        "published: 50.0 %, +0.0 points, +0.0 standard errors"
    )
    unread = comparison({"unread": {"accuracy": "a picture"}}, {"accuracy": 0.5, "accuracy_stderr": 0.1})
    assert unread == "trained: 50.0 +- 10.0 %; no published figure was read (a picture)"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["gpt2-cocnut"], "did you mean 'gsm8k/gpt2-coconut'?"),
        (["tiny/arithmetic-cot"], "recipe='tiny/arithmetic-cot'"),
        ([], "recipe"),
    ],
)
def test_what_cannot_be_reproduced(words, says, capsys):
    with pytest.raises(SystemExit):
        main("reproduce", words)
    assert says in capsys.readouterr().err.splitlines()[-1]


def test_carried_out(tmp_path, monkeypatch, capfd):
    """Trains the checkpoint and the model that starts from it, tests, compares; a second call only tests again."""
    rows = [
        {"question": f"What is {a} plus {b}?", "answer": f"So <<{a}+{b}={a + b}>>\\n#### {a + b}"}
        for a in range(4)
        for b in range(4)
    ]
    data = tmp_path / "rows.jsonl"
    data.write_text("\n".join(map(json.dumps, rows)))
    tokenizer = train_tokenizer([row["question"] + row["answer"] for row in rows], 300)
    make_base("gpt2", vocab_size=len(tokenizer), dtype=torch.float32).save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    common = {
        "dataset": "gsm8k",
        "num_train_epochs": 1,
        "per_device_train_batch_size": 4,
        "report_to": "none",
        "save_strategy": "no",
    }
    common |= {"max_new_tokens": 4, "bf16": False}
    published = {"figure": "test accuracy 50.0 %", "accuracy": 50.0, "source": "a test", "commit": "0000000", "data": "sums"}
    published["problems"] = 16
    first = {**common, "method": "cot", "model_name_or_path": str(tmp_path / "base"), "output_dir": "runs/first"}
    second = {**common, "method": "coconut", "model_name_or_path": "runs/first", "output_dir": "runs/second", "max_stage": 1}
    second |= {"epochs_per_stage": 1, "first_stage": 2, "published": published}
    for name, settings in (("first", first), ("second", second)):
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(settings))
    files = bundled.files()
    monkeypatch.setattr(
        bundled, "files", lambda: {**files, "first": tmp_path / "first.yaml", "second": tmp_path / "second.yaml"}
    )
    monkeypatch.chdir(tmp_path)
    assert global_batch("second", second) == 4
    words = ["second", "--train_path", str(data), "--test_path", str(data)]
    main("reproduce", words)
    out = capfd.readouterr().out
    assert "published: test accuracy 50.0 %" in out and "reproduced: " in out and " points" in out
    assert (tmp_path / "runs" / "first" / "train_results.json").is_file()
    record = json.loads((tmp_path / "runs" / "reproduced" / "second.json").read_text())
    assert record["problems"] == 16
    main("reproduce", words)
    assert "saved to" not in capfd.readouterr().out
