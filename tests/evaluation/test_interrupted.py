"""An evaluation killed three times ends with the record and the answers of one that was left alone."""

import signal
import subprocess
import time

import pytest
from forked_python import forked_python
from saved import evaluate, read, save_all, words

from latent_trainer.cli import main


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    save_all(folder)
    return folder


def kill_when(argv: list[str], written) -> None:
    """Start an evaluation and kill it as soon as ``written()``."""
    process = subprocess.Popen([forked_python(), "-c", "from latent_trainer.cli import main; main()", "evaluate", *argv])
    until = time.monotonic() + 240
    while not written():
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.001)
    process.kill()
    assert process.wait() == -signal.SIGKILL


@pytest.mark.parametrize(
    ("conditions", "options"),
    [
        (("intact", "zero", "shuffle"), {"controls": ["zero", "shuffle"]}),
        (("intact", "intact", "intact"), {"num_samples": 3, "temperature": 30.0, "seed": 5}),
    ],
    ids=["controls", "samples"],
)
def test_killed_three_times(folder, tmp_path, conditions, options):
    output = tmp_path / "killed.json"
    argv = words(folder, output, **options)

    def lines(condition: str) -> int:
        places = (tmp_path / "killed.answers").glob(f"{condition}.jsonl.part-*")
        return sum(max(0, place.read_bytes().count(b"\n") - 1) for place in places)

    for kill, condition in enumerate(conditions, 1):
        before = lines(condition)
        kill_when(argv, lambda more=before + 4 * kill, name=condition: lines(name) >= more)
        assert not output.exists() and lines(condition) > 0
    assert [(tmp_path / "killed.answers" / f"{condition}.jsonl").exists() for condition in conditions] == [
        condition != conditions[-1] for condition in conditions
    ]
    main("evaluate", argv)
    record, answers = read(output)
    expected_record, expected_answers = evaluate(folder, tmp_path / "alone.json", **options)
    assert answers == expected_answers
    assert record == expected_record
    assert {len(rows) for rows in answers.values()} == {60 * options.get("num_samples", 1)}
    assert 0.3 < record["accuracy"] < 1 or "temperature" in options
    assert len({row["tokens_written"] for row in answers["intact"]}) > 1


def test_a_finished_evaluation_answers_nothing_anew(folder, tmp_path, monkeypatch):
    output = tmp_path / "twice.json"
    first = evaluate(folder, output, controls=["zero"])
    monkeypatch.setattr("latent_trainer.model.modeling.LatentForCausalLM.generate", None)
    assert evaluate(folder, output, controls=["zero"]) == first


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"max_new_tokens": 3}, "max_new_tokens"),
        ({"num_latents": 1}, "num_latents"),
        ({"seed": 1}, "seed"),
        ({"max_eval_problems": 5}, "data_hash"),
        ({"temperature": 1.0}, "sampling"),
        ({"model": "pause"}, "feedback, model"),
    ],
    ids=str,
)
def test_other_settings_are_refused(folder, tmp_path, capsys, changes, names):
    output = tmp_path / "record.json"
    evaluate(folder, output, max_eval_problems=6)
    kept = output.read_bytes()
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main("evaluate", words(folder, output, **{"max_eval_problems": 6, **changes}))
    line = capsys.readouterr().err.splitlines()[-1]
    assert ended.value.code == 2 and line.startswith("latent-trainer: ") and f"(other {names})" in line
    assert output.read_bytes() == kept


@pytest.mark.parametrize(
    ("before", "after", "name"),
    [
        ({"feedback": "hidden"}, {"feedback": "soft"}, "other feedback"),
        ({"feedback": "soft"}, {"feedback": "soft", "template": "coconut"}, "other template"),
    ],
)
def test_a_plain_base_model_read_otherwise_is_refused(folder, tmp_path, capsys, before, after, name):
    common = {"model": "base", "template": "plain", "num_latents": 2, "max_eval_problems": 4}
    evaluate(folder, tmp_path / "record.json", **{**common, **before})
    with pytest.raises(SystemExit):
        main("evaluate", words(folder, tmp_path / "record.json", **{**common, **after}))
    assert name in capsys.readouterr().err


def test_another_batch_size_goes_on(folder, tmp_path):
    """What does not decide the answers may change between the runs."""
    first = evaluate(folder, tmp_path / "record.json", max_eval_problems=7)
    again = evaluate(folder, tmp_path / "record.json", max_eval_problems=7, batch_size=2)
    assert again[1] == first[1]
