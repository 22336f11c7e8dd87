"""The reward of a thought: what it reads, what it learns, the best of N by it, and the command."""

import json
import zlib

import pytest
import torch
from conftest import make_base, sharpen
from saved import save_all
from training import make_tokenizer

from latent_trainer import LatentForCausalLM, encode_prompts, load_problems
from latent_trainer.cli import main
from latent_trainer.data import as_problems
from latent_trainer.errors import InputError
from latent_trainer.evaluation.generation import Answer
from latent_trainer.evaluation.reward_model import (
    Graded,
    LatentRewardModel,
    auroc,
    best_of,
    graded_samples,
    train_reward_model,
)
from latent_trainer.model.drawn_latents import Drawing

LATENTS, SAMPLES = 2, 3
THOUGHTS = {"seed": 5, "latent_do_sample_by": "noise", "noise_std": 0.5}


def answer(problem: int, sample: int, correct: bool) -> Answer:
    common = {"text": "", "strict": None, "flexible": None, "correct_flexible": correct, "tokens_written": 1}
    common |= {"latents": 0, "passes": 1, "prefill_seconds": 0.0, "decode_seconds": 0.0}
    return Answer(id=str(problem), sample=sample, reference="1", correct=correct, **common)


def graded(problems: int = 60, size: int = 4) -> Graded:
    """Return answers whose first feature alone tells, with noise, whether they are right."""
    generator = torch.Generator().manual_seed(0)
    right = torch.rand(problems * SAMPLES, generator=generator) < 0.4
    features = torch.randn(len(right), 2 * size, generator=generator)
    features[:, 0] += 3.0 * right
    rows = [answer(place // SAMPLES, place % SAMPLES, bool(one)) for place, one in enumerate(right)]
    return Graded(rows, features, SAMPLES)


def test_area_by_all_pairs():
    scores = torch.tensor([0.3, 0.1, 0.3, 0.9, 0.2, 0.1])
    right = torch.tensor([True, False, False, True, True, False])
    pairs = [(good, bad) for good in scores[right] for bad in scores[~right]]
    expected = sum(1.0 if good > bad else 0.5 if good == bad else 0.0 for good, bad in pairs) / len(pairs)
    assert auroc(scores, right) == pytest.approx(expected)
    assert auroc(scores, torch.ones(6, dtype=torch.bool)) is None


def test_it_learns_what_tells(tmp_path):
    """Right answers are told from wrong ones of other problems; the best is chosen; weights come back from a folder."""
    model, other = train_reward_model(graded()), graded(200)
    other.features = other.features.roll(1, 0).roll(-1, 0)
    area, best = best_of(model, other)
    right = other.right.view(-1, SAMPLES)
    expected = [
        bool(row[scores.argmax()]) for row, scores in zip(right, model(other.features).view(-1, SAMPLES), strict=True)
    ]
    assert area > 0.9 and best == expected
    assert sum(best) / len(best) > right.double().mean().item() + 0.2
    shuffled = Graded(graded().answers, graded().features[torch.randperm(60 * SAMPLES)], SAMPLES)
    assert best_of(train_reward_model(shuffled), other)[0] < 0.8
    model.save(tmp_path)
    assert torch.equal(LatentRewardModel.load(tmp_path)(other.features), model(other.features))
    with pytest.raises(InputError, match="holds no reward model"):
        LatentRewardModel.load(tmp_path / "none")


def test_nothing_to_tell():
    same = graded()
    same.answers = [answer(place // SAMPLES, place % SAMPLES, True) for place in range(len(same.answers))]
    with pytest.raises(InputError, match="all 180 answers are right"):
        train_reward_model(same)
    with pytest.raises(InputError, match="and this is one; give more"):
        train_reward_model(graded(problems=1))
    two = graded(problems=2)
    for right in (0, 1):  # one of them is held out: the other alone is trained on
        two.answers = [answer(place // SAMPLES, place % SAMPLES, place // SAMPLES == right) for place in range(2 * SAMPLES)]
        with pytest.raises(InputError, match=r"all 3 answers to train on are (right|wrong)"):
            train_reward_model(two)


@pytest.mark.parametrize("feedback", ["hidden", "projection"])
def test_features_are_those_of_the_drawn_thought(feedback):
    """Every answer's features, in batches, are those of its row alone with the thought that led to it."""
    tokenizer = make_tokenizer()
    base = make_base(vocab_size=len(tokenizer))
    model = sharpen(LatentForCausalLM.from_base(base, tokenizer=tokenizer, feedback=feedback)).eval()
    problems = as_problems(load_problems("arithmetic", "test", size=4, operations=2))
    found = graded_samples(model, tokenizer, problems, SAMPLES, THOUGHTS, None, LATENTS, 4, batch_size=5)
    assert found.features.shape == (len(problems) * SAMPLES, 2 * model.config.hidden_size)
    assert len({tuple(row.tolist()) for row in found.features}) == len(found.answers)
    for place in (0, 4, 11):
        problem, sample = problems[place // SAMPLES], place % SAMPLES
        prompt = encode_prompts([problem.question], tokenizer, LATENTS)["input_ids"]
        seed = zlib.crc32(f"5/{problem.id}/{sample}/thought".encode())
        drawing = {"latent_do_sample": True, "latent_do_sample_by": "noise", "noise_std": 0.5, "latent_seeds": [seed]}
        whole = model.generate(prompt, max_new_tokens=4, do_sample=False, **drawing)
        ends = (whole[0, prompt.shape[1] :] == tokenizer.eos_token_id).nonzero().flatten().tolist()
        whole = whole[:, : prompt.shape[1] + ends[0] + 1] if ends else whole
        with torch.no_grad(), Drawing("noise", 0.5).of(model, 1, [seed]):
            hidden = model.run(whole, torch.ones_like(whole)).hidden[0]
        own = hidden[(whole[0] == model.config.latent_token_id)]
        expected = torch.cat([own.mean(0), hidden[-1]]).float()
        torch.testing.assert_close(found.features[place], expected, rtol=1e-5, atol=1e-5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    save_all(folder)
    lines = (folder / "problems.jsonl").read_text().splitlines(keepends=True)
    (folder / "train.jsonl").write_text("".join(lines[12:]))
    (folder / "test.jsonl").write_text("".join(lines[:12]))
    return folder


def test_the_command(folder, tmp_path, capsys):
    """A record with AUROC and the best of N beside the vote, the reward model beside it."""
    words = {"model": folder / "latent", "out": tmp_path / "reward", "dataset": "jsonl", "num_samples": 4, "noise_std": 20.0}
    words |= {"dataset_path": folder / "train.jsonl", "dataset_test_path": folder / "test.jsonl", "max_new_tokens": 4}
    argv = [str(word) for name, value in words.items() for word in (f"--{name}", value)]
    main("reward", argv)
    record = json.loads((tmp_path / "reward.json").read_text())
    assert record["samples"] == 4 and record["problems"] == 12 and 0 <= record["auroc"] <= 1
    assert record["accuracy"] - 1e-9 <= record["pass@4"] and record["best_of_n"] <= record["pass@4"]
    assert record["against_majority"]["difference"] == pytest.approx(record["best_of_n"] - record["majority"])
    assert "AUROC" in capsys.readouterr().out
    assert LatentRewardModel.load(tmp_path / "reward").settings["hidden_size"] == 32
    for more, why in (
        (("--num_samples", "1"), "the best of one answer"),
        (("--dropout_p", "0.5"), "dropout_p=0.5 is of latent_do_sample_by=dropout"),
    ):
        kept = argv[: argv.index("--num_samples")] + argv[argv.index("--num_samples") + 2 :]
        with pytest.raises(SystemExit):
            main("reward", [*kept, *more])
        assert why in capsys.readouterr().err


def test_nothing_to_draw(folder, tmp_path, capsys):
    """Pause tokens are no thoughts that could differ."""
    words = ["--model", str(folder / "pause"), "--out", str(tmp_path / "reward"), "--dataset", "jsonl"]
    with pytest.raises(SystemExit):
        main("reward", [*words, "--dataset_path", str(folder / "problems.jsonl"), "--max_new_tokens", "4"])
    assert "learned embeddings" in capsys.readouterr().err
