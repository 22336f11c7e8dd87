"""``latent-trainer compare``: what stands in the table, and which pairs are tested."""

import csv
import json

import pytest
from training import make_trainer

from latent_trainer.cli import main
from latent_trainer.evaluation.statistics import mcnemar


def write(path, right: str, data_hash: str = "same", **more) -> list[bool]:
    """Write a record and its answers: of problem i whether it is right."""
    correct = [letter == "1" for letter in right]
    path.parent.mkdir(parents=True, exist_ok=True)
    record = {
        "accuracy": sum(correct) / len(correct),
        "accuracy_stderr": 0.1,
        "problems": len(correct),
        "data_hash": data_hash,
    }
    path.write_text(json.dumps({**record, **more}))
    journal = path.with_suffix(".answers") / "intact.jsonl"
    journal.parent.mkdir()
    order = list(enumerate(correct))[:: -1 if more.get("reversed") else 1]
    rows = [{"samples": 1}, *({"id": str(number), "correct": one} for number, one in order)]
    journal.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return correct


def test_table_tests_and_files(tmp_path, capsys):
    first = write(tmp_path / "a" / "one.json", "1111101111")
    second = write(tmp_path / "b" / "one.json", "1000101000", reversed=True)
    write(tmp_path / "other.json", "1100", data_hash="different")
    names = [str(tmp_path / name) for name in ("a/one.json", "b/one.json", "other.json")]
    main("compare", [*names, "--output", str(tmp_path / "out" / "all")])
    found = json.loads((tmp_path / "out" / "all.json").read_text())
    (test,) = found["tests"]  # no pair with other problems
    expected = mcnemar(first, second)
    assert test["first"] == "a/one"
    assert test["problems"] == 10
    assert test["p_value"] == expected["p_value"]
    assert (test["only_first"], test["only_second"]) == (expected["only_intact"], expected["only_changed"]) == (6, 0)
    rows = list(csv.DictReader((tmp_path / "out" / "all.csv").read_text().splitlines()))
    assert [row["record"].split("/")[-1] for row in rows] == ["one", "one", "other"]
    assert [float(row["accuracy"]) for row in rows] == [0.9, 0.3, 0.5]
    assert (tmp_path / "out" / "all.png").stat().st_size > 5_000
    assert (tmp_path / "out" / "all.svg").is_file()
    assert "p (McNemar)" in capsys.readouterr().out


def test_records_of_evaluate(tmp_path, capsys):
    """The answers that evaluate leaves are found and compared."""
    for name in ("first", "second"):
        trainer = make_trainer(tmp_path / name, max_steps=1, seed=len(name), log_level="error")
        trainer.save_model()
        argv = [
            "--model",
            str(tmp_path / name),
            "--dataset",
            "arithmetic",
            "--dataset_options",
            '{"operations": 2, "size": 8}',
        ]
        main("evaluate", [*argv, "--output", str(tmp_path / f"{name}.json")])
    main("compare", [str(tmp_path / "first.json"), str(tmp_path / "second.json")])
    assert "paired: accuracy of the first less that of the second" in capsys.readouterr().out


def test_what_cannot_be_compared(tmp_path, capsys):
    (tmp_path / "bad.json").write_text("{")
    (tmp_path / "empty.json").write_text("{}")
    write(tmp_path / "good.json", "10")
    good = str(tmp_path / "good.json")
    for words, message in (
        ([good], "at least two"),
        ([good, good], "same file"),
        ([good, str(tmp_path / "absent.json")], "no result record"),
        ([good, str(tmp_path / "bad.json")], "is not a JSON file"),
        ([good, str(tmp_path / "empty.json")], "holds no accuracy"),
    ):
        with pytest.raises(SystemExit):
            main("compare", words)
        assert message in capsys.readouterr().err
