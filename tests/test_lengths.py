"""Prompts that do not fit the context: counted and left out, or refused in one line, alike wherever a model is used."""

import json

import pytest
import torch
from conftest import make_base
from training import make_tokenizer, quick

from latent_trainer import LatentForCausalLM, LatentTrainer, LatentTrainingArguments
from latent_trainer.cli import main
from latent_trainer.data.encoding import Encoder
from latent_trainer.data.lengths import Room
from latent_trainer.data.problem import Problem
from latent_trainer.errors import InputError
from latent_trainer.evaluation.generation import generate_answers
from latent_trainer.methods.curriculum import FixedCurriculum, InternalizeCurriculum, StagedCurriculum

CONTEXT = 24
NEW = 6
LATENTS = 2
# question, [bot], two latents, [eot] and six new tokens: questions of up to 14 tokens fit
FITS, TOO_LONG = 14, 15


def problem(length: int, steps=(), answer: str = "1", id: str = "") -> Problem:
    return Problem(" ".join(["1"] * length), tuple(steps), answer, id or str(length))


def make_trainer(folder, problems, architecture="gpt2", **changes) -> LatentTrainer:
    tokenizer = make_tokenizer()
    length = {"n_positions": CONTEXT} if architecture == "gpt2" else {"max_position_embeddings": CONTEXT}
    base = make_base(architecture, vocab_size=len(tokenizer), dtype=torch.float32, **length)
    model = LatentForCausalLM.from_base(base, tokenizer=tokenizer)
    settings = {
        "max_stage": 1,
        "latents_per_step": LATENTS,
        "max_steps": 1,
        "first_stage": 2,
        "max_new_tokens": NEW,
    }
    args = LatentTrainingArguments(str(folder), **quick(**{**settings, **changes}))
    return LatentTrainer(model, args, train_dataset=problems, eval_dataset=problems, processing_class=tokenizer)


# ---- the rule ----


def encoder() -> Encoder:
    tokenizer = make_tokenizer()
    LatentForCausalLM.from_base(make_base(vocab_size=len(tokenizer)), tokenizer=tokenizer)
    return Encoder(tokenizer, "plain")


def longest_read(curriculum, row: Problem, explicit: bool = False, step_group: int | None = None) -> int:
    """Return the smallest context a problem can be read in."""
    own = encoder()

    def views(encoded, plan):
        return [own.latent_view(encoded, plan)] + [own.explicit_view(encoded)] * explicit

    rows, most = own.problems([row]), curriculum.latents(curriculum.num_stages - 1)
    for context in range(1, 200):
        try:
            Room(own, context, most, 0).read(rows, curriculum.plans, views, step_group=step_group)
        except InputError:
            continue
        return context
    raise AssertionError


def test_what_is_read_is_what_counts():
    """The longest row of any stage; steps that are never read take no room, but for a second view or a step decoder."""
    row = problem(5, ["1 + 1 = 2", "2 + 2 = 4"])  # two steps of five tokens; "= 1" and the end of text are three
    assert longest_read(FixedCurriculum(2), row) == 5 + 4 + 3
    assert longest_read(FixedCurriculum(2), row, explicit=True) == 5 + 10 + 3
    assert longest_read(FixedCurriculum(2), row, step_group=2) == max(5 + 4 + 3, 2 + 10 + 1)
    assert longest_read(FixedCurriculum(2, keep_steps=True), row) == 5 + 4 + 10 + 3
    assert longest_read(StagedCurriculum(1, 2), row) == 5 + 2 + 10 + 3  # stage 0
    assert longest_read(StagedCurriculum(9, 2), row) == 5 + 2 + 18 + 3  # the last stage
    assert longest_read(InternalizeCurriculum(), row) == 5 + 2 + 10 + 3


@pytest.mark.parametrize("curriculum", [StagedCurriculum(2, 2, True, 0.5), StagedCurriculum(3, 1), FixedCurriculum(3)])
def test_no_stage_needs_more_than_what_counts(curriculum):
    """Whatever a row looks like at any stage, drawn many times, it is no longer than the context it was let into."""
    import random

    own, row = encoder(), problem(4, ["1 + 1", "2", "3 + 3 = 6"])
    (encoded,) = own.problems([row])
    longest = 0
    for stage in range(curriculum.num_stages):
        for seed in range(40):
            plan = curriculum.plan(stage, encoded, random.Random(seed))
            longest = max(longest, len(encoded.prompt) + len(own.latent_view(encoded, plan).input_ids))
    assert longest_read(curriculum, row) == longest


# ---- training, evaluation, generation, probes ----


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_everywhere_alike(architecture, tmp_path, capsys):
    """Training, evaluation in training, `evaluate` and `probe` leave the same problem out; `generate` refuses it."""
    problems = [problem(length) for length in (2, 5, FITS, TOO_LONG, 3, 40)]
    trainer = make_trainer(tmp_path / "out", problems, architecture)
    assert trainer.dropped == 1  # question of 15 tokens, thought, answer: it can be read, and not answered
    trainer.train()
    metrics = trainer.evaluate()
    assert (metrics["eval_dropped"], metrics["eval_dropped_from_loss"], metrics["eval_problems"]) == (2, 1, 4)
    trainer.save_model()
    data = tmp_path / "problems.jsonl"
    data.write_text("\n".join(json.dumps({"question": one.question, "answer": "1", "id": one.id}) for one in problems))
    common = ["--model", str(tmp_path / "out"), "--dataset", "jsonl", "--dataset_test_path", str(data)]
    main("evaluate", [*common, "--controls", "noise", "--output", str(tmp_path / "record.json")])
    record = json.loads((tmp_path / "record.json").read_text())
    assert (record["dropped"], record["problems"]) == (2, 4)
    for name in ("accuracy", "accuracy_flexible", "invalid", "tokens_written", "unreachable"):
        assert record[name] == metrics[f"eval_{name}"]
    main("probe", [*common, "--out", str(tmp_path / "probes"), "--probes", "norms", "patching"])
    assert json.loads((tmp_path / "probes.json").read_text())["dropped"] == 2
    ask = ["--model", str(tmp_path / "out"), "--question"]
    main("generate", [*ask, problem(FITS).question, "1"])
    for more in ([], ["--entropy_threshold", "0"]):
        capsys.readouterr()
        with pytest.raises(SystemExit):
            main("generate", [*ask, "1", problem(TOO_LONG).question, *more])
        line = capsys.readouterr().err.strip().splitlines()[-1]
        assert "question 2 of 2 has 17 tokens with its template; 2 latents and max_new_tokens=6 make it 25" in line
        assert "the model's context has 24" in line
    with pytest.raises(InputError, match="problem 15 has 17 tokens"):
        generate_answers(trainer.model, trainer.processing_class, problems[:4], LATENTS, "plain", 2, NEW)


def test_padding_takes_no_room(tmp_path):
    """A long question with a short answer beside a short one with long steps: together wider than the context."""
    steps = ["1 + 1 + 1 + 1 + 1 + 1 + 1"]
    problems = [problem(16, answer="1"), problem(2, steps), problem(3, steps)]
    trainer = make_trainer(tmp_path, problems, first_stage=0, last_stage=0, generate_in_eval=False)
    trainer.train()
    metrics = trainer.evaluate(stage=0)
    assert trainer.dropped == metrics["eval_dropped"] == 0
    assert "eval_unreachable" not in metrics


def test_steps_that_nobody_reads_may_be_long(tmp_path):
    long = problem(3, ["1 + 1 + 1 + 1"] * 9)
    changes = {
        "method": "answer_only",
        "num_latents": LATENTS,
        "max_stage": None,
        "latents_per_step": None,
        "first_stage": 0,
    }
    assert make_trainer(tmp_path, [long, problem(2)], **changes).dropped == 0
    changes = {"method": "codi", "num_latents": LATENTS, "max_stage": None, "latents_per_step": None, "first_stage": 0}
    trainer = make_trainer(tmp_path, [long, problem(2)], **changes)
    metrics = trainer.evaluate()
    assert (trainer.dropped, metrics["eval_dropped_from_loss"], metrics["eval_dropped"]) == (1, 1, 0)


def test_a_run_that_cannot_be_evaluated_does_not_start(tmp_path):
    """Read, but never answered: the line comes before the first step and not after an epoch."""
    with pytest.raises(InputError, match="max_new_tokens=6; 2 are longer with 2 latents: the shortest takes 25"):
        make_trainer(tmp_path, [problem(TOO_LONG), problem(TOO_LONG + 1)])


# ---- references that cannot be written ----


def test_references_beyond_reach(tmp_path, caplog, capsys):
    """Two tokens of "= 1" fit, six of a longer answer do not: counted, and said in a line."""
    problems = [problem(2), problem(3), problem(4, answer="1 + 2 + 3", id="long")]
    trainer = make_trainer(tmp_path / "out", problems, max_new_tokens=5)
    said = "max_new_tokens=5 is too few to write 1 of 3 reference answers: the longest takes 6 and the end of text"
    assert said in caplog.text
    assert trainer.evaluate()["eval_unreachable"] == 1
    trainer.save_model()
    data = tmp_path / "problems.jsonl"
    rows = [{"question": one.question, "answer": one.answer, "id": one.id} for one in problems]
    data.write_text("\n".join(map(json.dumps, rows)))
    words = ["--model", str(tmp_path / "out"), "--dataset", "jsonl", "--dataset_test_path", str(data)]
    main("evaluate", [*words, "--output", str(tmp_path / "record.json")])
    assert said in capsys.readouterr().out
    record = json.loads((tmp_path / "record.json").read_text())
    assert (record["unreachable"], record["dropped"], record["problems"]) == (1, 0, 3)
    main("evaluate", [*words, "--output", str(tmp_path / "more.json"), "--max_new_tokens", "6"])
    assert json.loads((tmp_path / "more.json").read_text())["unreachable"] == 0
    main("evaluate", [*words, "--output", str(tmp_path / "none.json"), "--max_new_tokens", "1"])
    assert "max_new_tokens=1 is too few to write 3 of 3 reference answers" in capsys.readouterr().out
    assert json.loads((tmp_path / "none.json").read_text())["unreachable"] == 3
