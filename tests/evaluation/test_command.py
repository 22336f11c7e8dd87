"""`latent-trainer evaluate`: every option, every kind of model, the record, and what is refused."""

import hashlib
import json
import re
import shlex
from pathlib import Path

import pytest
import torch
from conftest import make_base
from saved import LATENTS, TEMPLATE, evaluate, save_all, words
from transformers import AutoModelForCausalLM, AutoTokenizer

from latent_trainer import LatentForCausalLM, encode_prompts
from latent_trainer.cli import main
from latent_trainer.cli.arguments import DataArguments, parse
from latent_trainer.cli.evaluate import EvaluateArguments
from latent_trainer.data import as_problems, load_problems
from latent_trainer.evaluation.controls import CONTROLS
from latent_trainer.evaluation.evaluator import Evaluator
from latent_trainer.evaluation.record import data_hash
from latent_trainer.evaluation.statistics import mcnemar

ROOT = Path(__file__).resolve().parents[2]
SHORT = {"max_eval_problems": 24, "batch_size": 8}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    save_all(folder)
    return folder


@pytest.fixture
def output(tmp_path):
    return tmp_path / "results" / "record.json"


def problems_of(folder: Path, number: int = 24):
    return as_problems(load_problems("jsonl", "test", test_path=str(folder / "problems.jsonl")))[:number]


def test_record(folder, output, capsys):
    """Every field of a plain evaluation."""
    found, answers = evaluate(folder, output, **SHORT)
    record = json.loads(output.read_text())
    problems = problems_of(folder)
    rows = answers["intact"]
    assert [row["id"] for row in rows] == [problem.id for problem in problems]
    share = sum(row["correct"] for row in rows) / 24
    assert record["accuracy"] == pytest.approx(share) and 0.3 < share < 1
    assert record["accuracy_stderr"] == pytest.approx((share * (1 - share) / 24) ** 0.5)
    assert 0 < record["accuracy_low"] < share < record["accuracy_high"] <= 1
    assert record["accuracy_flexible"] >= share and record["accuracy_flexible_stderr"] > 0
    assert record["invalid"] == sum(row["strict"] is None for row in rows) / 24
    for name in ("tokens_written", "passes"):
        assert record[name] == pytest.approx(sum(row[name] for row in rows) / 24)
    assert record["latents"] == LATENTS and record["passes"] == pytest.approx(LATENTS + record["tokens_written"])
    assert record["problems"] == 24 and record["dropped"] == 0
    assert record["prefill_seconds"] > 0 and record["decode_seconds"] > 0
    assert record["seconds_per_problem"] == pytest.approx(record["prefill_seconds"] + record["decode_seconds"])
    assert 0.05 < record["peak_memory_gb"] < 100
    assert list(record["by_family"]) == ["more", "sums"] and list(record["by_difficulty"]) == ["1", "2", "3"]
    assert sum(row["problems"] for row in record["by_family"].values()) == 24
    assert record["data_hash"] == data_hash(problems)
    assert record["controls"] == record["sweep"] == {}
    assert set(record["versions"]) >= {"latent_trainer", "torch", "transformers", "python"}
    assert {"git_commit", "git_dirty", "device", "date"} <= record.keys()
    config = record["config"]
    assert (config["num_latents"], config["max_new_tokens"], config["seed"]) == (LATENTS, 4, 0)
    assert config["dataset_test_path"] == "problems.jsonl" and config["batch_size"] == 8
    assert found.keys() >= {"accuracy", "config", "versions"}
    printed = capsys.readouterr().out
    assert f"accuracy {share:.4f} +- " in printed and "24 problems" in printed and "2 latents, 0 dropped" in printed
    assert not output.with_suffix(".png").exists()


def test_defaults_are_those_of_training(folder, output, tmp_path):
    """Tokens and latents come from the model's own configuration; the record says how many."""
    model = LatentForCausalLM.from_pretrained(folder / "latent")
    model.generation_config.max_new_tokens = 3
    model.save_pretrained(tmp_path / "model")
    AutoTokenizer.from_pretrained(folder / "latent").save_pretrained(tmp_path / "model")
    record, answers = evaluate(folder, output, model=tmp_path / "model", max_new_tokens=None, max_eval_problems=8)
    assert record["config"]["max_new_tokens"] == 3 and record["config"]["num_latents"] == LATENTS
    assert max(row["tokens_written"] for row in answers["intact"]) == 3


def test_all_controls_a_pause_model_and_a_sweep(folder, output, capsys):
    """Every condition's answers are kept; the record compares each with the intact ones, paired; a figure is drawn."""
    record, answers = evaluate(
        folder, output, controls=["all"], pause_model=folder / "pause", sweep_latents="true", num_latents=1, **SHORT
    )
    assert list(record["controls"]) == sorted([*CONTROLS, "pause"]) and list(record["sweep"]) == ["0", "1", "2"]
    assert set(answers) == {"intact", *CONTROLS, "pause/intact", "latents-0", "latents-2"}
    right = {name: [row["correct"] for row in rows] for name, rows in answers.items()}
    for name, row in record["controls"].items():
        own = right["pause/intact" if name == "pause" else name]
        assert row == pytest.approx({**row, "accuracy": sum(own) / 24, **mcnemar(right["intact"], own)})
        assert row["difference"] == pytest.approx(record["accuracy"] - row["accuracy"])
    assert {number: row["latents"] for number, row in record["sweep"].items()} == {"0": 0, "1": 1, "2": 2}
    assert record["sweep"]["1"]["accuracy"] == record["accuracy"]
    assert any(answers["zero"][row]["text"] != answers["intact"][row]["text"] for row in range(24))
    printed = capsys.readouterr().out
    assert "what the latents do" in printed and "other numbers of latents" in printed
    assert f"figure in {output.with_suffix('.png')}" in printed and f"record in {output}" in printed
    assert output.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    assert record["config"]["controls"] == list(CONTROLS)


def test_controls_equal_their_definition(folder, output):
    """The zero control writes what `generate` writes for zero latents."""
    _, answers = evaluate(folder, output, controls=["zero"], max_eval_problems=8)
    model = LatentForCausalLM.from_pretrained(folder / "latent").eval()
    tokenizer = AutoTokenizer.from_pretrained(folder / "latent")
    for problem, row in zip(problems_of(folder, 8), answers["zero"], strict=True):
        batch = encode_prompts([problem.question], tokenizer, LATENTS, TEMPLATE)
        latents = torch.zeros(1, LATENTS, 32, dtype=model.dtype)
        new = model.generate(**batch, latents=latents, max_new_tokens=4, do_sample=False)[0, batch["input_ids"].shape[1] :]
        assert tokenizer.decode(new, skip_special_tokens=True) == row["text"]


def test_a_plain_base_model(folder, output):
    """Without latents it writes what stock `generate` of the base writes."""
    record, answers = evaluate(folder, output, model="base", template="plain", **SHORT)
    base = AutoModelForCausalLM.from_pretrained(folder / "base").eval()
    tokenizer = AutoTokenizer.from_pretrained(folder / "base")
    for problem, row in zip(problems_of(folder), answers["intact"], strict=True):
        ids = tokenizer(problem.question + " ", return_tensors="pt")
        new = base.generate(**ids, max_new_tokens=4, do_sample=False)[0, ids["input_ids"].shape[1] :]
        assert tokenizer.decode(new, skip_special_tokens=True) == row["text"]
    assert record["latents"] == 0 and record["invalid"] == 1  # it never writes the answer prefix
    assert record["passes"] == pytest.approx(record["tokens_written"])


def test_a_plain_base_model_thinks_with_soft_feedback(folder, output):
    _, plain = evaluate(folder, output, model="base", template="plain", **SHORT)
    soft = output.with_name("soft.json")
    record, answers = evaluate(
        folder, soft, model="base", template="plain", feedback="soft", num_latents=3, controls=["zero"], **SHORT
    )
    assert record["latents"] == 3 and record["passes"] == pytest.approx(3 + record["tokens_written"])
    texts = {name: [row["text"] for row in rows] for name, rows in answers.items()}
    assert texts["intact"] != texts["zero"] and texts["intact"] != [row["text"] for row in plain["intact"]]
    tokenizer = AutoTokenizer.from_pretrained(folder / "base")
    model = LatentForCausalLM.from_base(str(folder / "base"), tokenizer=tokenizer, feedback="soft").eval()
    batch = encode_prompts([problems_of(folder)[3].question], tokenizer, 3, "plain")
    new = model.generate(**batch, max_new_tokens=4, do_sample=False)[0, batch["input_ids"].shape[1] :]
    assert tokenizer.decode(new, skip_special_tokens=True) == texts["intact"][3]


def test_an_adapter(folder, output):
    """An adapter's folder is evaluated like the merged model it stands for."""
    record, answers = evaluate(folder, output, model="adapter", controls=["shuffle"], **SHORT)
    model = LatentForCausalLM.from_pretrained(folder / "adapter").eval()
    tokenizer = AutoTokenizer.from_pretrained(folder / "adapter")
    evaluator = Evaluator(model, tokenizer, problems_of(folder), LATENTS, LATENTS, 24, 4)
    assert [answer.text for answer in evaluator.intact()] == [row["text"] for row in answers["intact"]]
    assert record["latents"] == LATENTS
    _, full = evaluate(folder, output.with_name("full.json"), **SHORT)
    assert full["intact"] != answers["intact"]


def test_samples(folder, output, capsys):
    """Five answers a problem; the seed decides them, the batch does not; top_k=1 is greedy."""
    sampled = {"num_samples": 5, "temperature": 40.0, "max_eval_problems": 12}
    record, answers = evaluate(folder, output, top_p=0.9, top_k=8, **sampled)
    assert {f"pass@{k}" for k in (1, 2, 4)} | {"majority"} <= record.keys() and record["samples"] == 5
    assert record["problems"] == 12 and record["pass@1"] == pytest.approx(record["accuracy"])
    assert record["pass@1"] <= record["pass@2"] <= record["pass@4"]
    rows = answers["intact"]
    assert [(row["id"], row["sample"]) for row in rows[4:7]] == [("p0", 4), ("p1", 0), ("p1", 1)]
    assert len({row["text"] for row in rows[:5]}) > 1
    again = evaluate(folder, output.with_name("again.json"), top_p=0.9, top_k=8, **{**sampled, "batch_size": 32})
    assert again[1] == answers
    other = evaluate(folder, output.with_name("other.json"), top_p=0.9, top_k=8, seed=1, **sampled)
    assert other[1] != answers
    greedy = evaluate(folder, output.with_name("greedy.json"), max_eval_problems=12)[1]["intact"]
    likeliest = evaluate(folder, output.with_name("one.json"), top_k=1, **sampled)[1]["intact"]
    assert [row["text"] for row in likeliest] == [row["text"] for row in greedy for _ in range(5)]


def test_samples_of_the_thought(folder, output):
    """Greedy answers differ by their thoughts alone; the record says which it is, seed and problem decide, not the batch."""
    drawn = {"latent_do_sample": True, "noise_std": 20.0, "num_samples": 4, "max_eval_problems": 12}
    record, answers = evaluate(folder, output, **drawn)
    assert record["thoughts"] == "one an answer" and record["samples"] == 4 and record["config"]["noise_std"] == 20.0
    texts = [row["text"] for row in answers["intact"]]
    assert any(len(set(texts[first : first + 4])) > 1 for first in range(0, 48, 4))
    again = evaluate(folder, output.with_name("again.json"), **{**drawn, "batch_size": 5})
    assert [row["text"] for row in again[1]["intact"]] == texts
    other = evaluate(folder, output.with_name("other.json"), seed=1, **drawn)
    assert [row["text"] for row in other[1]["intact"]] != texts
    shared, _ = evaluate(folder, output.with_name("shared.json"), num_samples=2, temperature=1.0, max_eval_problems=4)
    assert shared["thoughts"] == "one a problem"


def test_one_sample_has_controls(folder, output):
    record, _ = evaluate(folder, output, controls=["noise"], temperature=5.0, max_eval_problems=8)
    assert "majority" not in record and set(record["controls"]) == {"noise"}


def test_problems_that_do_not_fit_are_counted(folder, output, tmp_path):
    """A context of 40 tokens; with a sweep the longest prompt of any condition must fit."""
    rows = [json.dumps({"question": "+".join("1" * number), "answer": "1", "id": number}) for number in range(2, 21)]
    (tmp_path / "long.jsonl").write_text("\n".join(rows))
    common = {"dataset_test_path": tmp_path / "long.jsonl", "num_latents": 3}
    record, _ = evaluate(folder, output, **common)
    swept, _ = evaluate(folder, output.with_name("sweep.json"), sweep_latents="true", **common)
    assert 0 < record["dropped"] < swept["dropped"] and record["problems"] + record["dropped"] == 19


def test_nothing_is_written_without_output(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    main("evaluate", words(folder, None, controls=["zero"], max_eval_problems=4))
    assert list(tmp_path.iterdir()) == [] and "accuracy" in capsys.readouterr().out


def test_splits_of_a_data_set(folder, output, tmp_path):
    """The splits that only some data sets have are read."""
    tokenizer = AutoTokenizer.from_pretrained(folder / "base")
    make_base(vocab_size=len(tokenizer), n_positions=1024).save_pretrained(tmp_path / "long")
    tokenizer.save_pretrained(tmp_path / "long")
    options = {
        "model": tmp_path / "long",
        "dataset": "combinatorics",
        "dataset_test_path": None,
        "dataset_options": '{"size": 60}',
    }
    hashes = set()
    for split in ("validation", "test", "test_families", "test_harder"):
        place = output.with_name(f"{split}.json")
        record, _ = evaluate(folder, place, split=split, max_eval_problems=6, **{**options, "max_new_tokens": 2})
        assert record["config"]["split"] == split and record["problems"] == 6 and record["by_family"]
        hashes.add(record["data_hash"])
    assert len(hashes) == 4


REFUSED = {
    "controls without latents": ({"controls": ["zero"], "num_latents": 0}, "num_latents"),
    "all controls without latents": ({"controls": ["all"], "num_latents": 0}, "change latents"),
    "a shuffle of one": ({"controls": ["shuffle"], "max_eval_problems": 1}, "two problems"),
    "no such control": ({"controls": ["zeros"]}, "did you mean 'zero'"),
    "samples without temperature": ({"num_samples": 2}, "give temperature"),
    "top_k without temperature": ({"top_k": 2}, "give temperature"),
    "top_p without temperature": ({"top_p": 0.5}, "give temperature"),
    "noise of no drawing": ({"noise_std": 0.5}, "noise_std=0.5 has no effect without latent_do_sample=True"),
    "no such drawing": ({"latent_do_sample": True, "latent_do_sample_by": "nois"}, "did you mean 'noise'"),
    "a drawing that does not fit": (
        {"latent_do_sample": True, "latent_do_sample_by": "multiplex"},
        "policy=multiplex makes latents of token embeddings",
    ),
    "controls of drawn thoughts": ({"latent_do_sample": True, "controls": ["zero"]}, "leave latent_do_sample out"),
    "no temperature": ({"temperature": 0.0}, "above 0"),
    "too much mass": ({"temperature": 1.0, "top_p": 1.5}, "top_p=1.5"),
    "controls with samples": ({"controls": ["zero"], "num_samples": 2, "temperature": 1.0}, "num_samples at 1"),
    "a pause model with samples": ({"pause_model": "x", "num_samples": 2, "temperature": 1.0}, "num_samples at 1"),
    "feedback of a latent model": ({"feedback": "soft"}, "its own feedback"),
    "no such feedback": ({"model": "base", "feedback": "sotf"}, "did you mean 'soft'"),
    "no such split": ({"split": "tests"}, "did you mean 'test"),
    "a split of another data set": ({"split": "test_harder"}, "split='test_harder'"),
    "fewer than no latents": ({"num_latents": -1}, "num_latents=-1"),
    "no batch": ({"batch_size": 0}, "batch_size=0"),
    "no model": ({"model": "absent"}, "cannot load"),
    "nothing fits": ({"max_new_tokens": 39}, "no problem fits"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(folder, output, capsys, name):
    """In one line, with nothing written."""
    changes, says = REFUSED[name]
    with pytest.raises(SystemExit) as ended:
        main("evaluate", words(folder, output, **changes))
    lines = capsys.readouterr().err.splitlines()
    assert ended.value.code == 2 and says in lines[-1] and lines[-1].startswith("latent-trainer: ")
    assert sum(line.startswith("latent-trainer: ") for line in lines) == 1 and not any("Traceback" in line for line in lines)
    assert not output.exists() and not output.with_suffix(".answers").exists()


def test_problems_of_one_id_are_refused(folder, output, tmp_path, capsys):
    row = {"question": "1+2", "answer": "3", "id": "same"}
    (tmp_path / "twice.jsonl").write_text("\n".join(json.dumps({**row, "question": f"1+{number}"}) for number in range(3)))
    with pytest.raises(SystemExit):
        main("evaluate", words(folder, output, dataset_test_path=tmp_path / "twice.jsonl"))
    assert "3 problems have the id 'same'; give every problem its own" in capsys.readouterr().err


def test_the_hash_of_the_data_tells_problems_apart(folder):
    problems = problems_of(folder)
    assert data_hash(problems) == data_hash(list(problems)) != data_hash(problems[::-1])
    digest = hashlib.sha256(b"".join(json.dumps([p.question, [], p.answer]).encode() for p in problems))
    assert data_hash(problems) == digest.hexdigest()


def test_commands_of_the_page():
    """Every command of docs/evaluation.md has options that exist, and scripts and configurations that do."""
    page = (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8")
    commands = [line for block in re.findall(r"```bash\n(.*?)```", page, re.DOTALL) for line in block.splitlines()]
    assert len(commands) == 7
    for command in map(shlex.split, commands):
        for word in command:
            assert (ROOT / word).is_file() or not word.startswith(("recipes/", "accelerate_configs/"))
        if "--dataset" in command:
            start = command.index("recipes/evaluate.py") if command[0] == "accelerate" else 1
            arguments, data = parse("evaluate", (EvaluateArguments, DataArguments), command[start + 1 :])
            assert arguments.output and data.dataset == "arithmetic" and data.dataset_options == {"operations": 3}
