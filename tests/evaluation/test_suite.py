"""`latent-trainer evaluate --suite`: several data sets in one call, one record, resumed where it stopped."""

import json
import shlex
import shutil

import pytest
from saved import lasting, read, save_all

from latent_trainer.cli import main
from latent_trainer.evaluation.suites import SUITES, average
from latent_trainer.hub.card import _of_suite

ROWS = {
    "gsm8k": lambda n: {"question": f"{n % 10}+{n}", "answer": f"so <<1+1=2>>\n#### {n % 10}"},
    "gsm_hard": lambda n: {"input": f"{n}+{n % 10}", "code": "", "target": float(n % 10)},
    "svamp": lambda n: {"ID": f"chal-{n}", "Body": f"{n}", "Question": f"+{n % 10}", "Answer": float(n % 10), "Type": "x"},
    "multiarith": lambda n: {"question": f" {n}+ {n % 10}", "final_ans": str(n % 10)},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    save_all(folder)
    for number, (name, row) in enumerate(ROWS.items()):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row(n)) + "\n" for n in range(10 + number)))
    return folder


def words(folder, output=None, paths=None, **options) -> list[str]:
    """Return the arguments of an evaluation of the suite."""
    paths = {name: str(folder / f"{name}.jsonl") for name in ROWS} if paths is None else paths
    given = {"suite": "gsm", "suite_paths": json.dumps(paths), "output": output, "max_new_tokens": 4, "batch_size": 4}
    options = {"model": folder / "latent", **given, **options}
    return shlex.split(" ".join(f"--{name} {shlex.quote(str(v))}" for name, v in options.items() if v is not None))


def test_one_record_with_a_row_a_set_and_their_average(folder, tmp_path, capsys):
    output = tmp_path / "gsm.json"
    main("evaluate", words(folder, output))
    record, answers = read(output)
    assert list(record["sets"]) == sorted(SUITES["gsm"].sets) and record["suite"] == "gsm"
    assert {name.partition("/")[0]: len(rows) for name, rows in answers.items()} == {
        name: 10 + number for number, name in enumerate(ROWS)
    }
    for name, row in record["sets"].items():
        own = answers[f"{name}/intact"]
        assert row["accuracy"] == sum(one["correct"] for one in own) / len(own) and row["problems"] == len(own)
        assert {"accuracy_stderr", "accuracy_flexible_stderr", "data_hash", "dropped", "unreachable"} <= set(row)
    shares = [row["accuracy"] for row in record["sets"].values()]
    errors = [row["accuracy_stderr"] for row in record["sets"].values()]
    assert record["accuracy"] == pytest.approx(sum(shares) / 4)
    assert record["accuracy_stderr"] == pytest.approx(sum(one**2 for one in errors) ** 0.5 / 4) and sum(errors) > 0
    assert record["problems"] == 46 and record["config"]["dataset"] == "suite gsm"
    assert record["config"]["suite_paths"]["svamp"] == "svamp.jsonl" and str(folder) not in output.read_text()
    printed = capsys.readouterr().out
    assert all(name in printed for name in (*ROWS, "average", "suite gsm"))
    cards = _of_suite(json.loads(output.read_text()))
    assert [(one["config"]["dataset"], one["problems"]) for one in cards] == [
        (name, record["sets"][name]["problems"]) for name in record["sets"]
    ]
    assert _of_suite({"accuracy": 1.0}) == [{"accuracy": 1.0}]


def test_what_is_left_out_is_said(folder, tmp_path, capsys):
    """A question that does not fit the context is missing from its row's accuracy, and a line under the table says so."""
    rows = [json.dumps(ROWS["svamp"](n) | {"Body": "1 " * 900 if n == 3 else "1"}) for n in range(6)]
    (tmp_path / "svamp.jsonl").write_text("\n".join(rows))
    paths = {name: str(folder / f"{name}.jsonl") for name in ROWS} | {"svamp": str(tmp_path / "svamp.jsonl")}
    main("evaluate", words(folder, tmp_path / "gsm.json", paths=paths))
    assert "svamp: 1 of 6 problems do not fit the context and are left out" in capsys.readouterr().out
    assert read(tmp_path / "gsm.json")[0]["sets"]["svamp"]["dropped"] == 1


def lasting_parts(output):
    """Return record and answers without what no two runs share."""
    record, answers = read(output)
    return {**record, "sets": {name: lasting(row) for name, row in record["sets"].items()}}, answers


def test_it_goes_on_where_it_stopped(folder, tmp_path, monkeypatch):
    """A file that is broken stops the call before anything is answered; what was answered is not answered anew."""
    output = tmp_path / "gsm.json"
    broken = {name: str(folder / f"{name}.jsonl") for name in ROWS} | {"multiarith": str(folder / "none.jsonl")}
    with pytest.raises(SystemExit):
        main("evaluate", words(folder, output, paths=broken))
    assert not output.exists() and not output.with_suffix(".answers").exists()
    main("evaluate", words(folder, output))
    first = lasting_parts(output)
    (output.with_suffix(".answers") / "svamp" / "intact.jsonl").unlink()
    output.unlink()
    main("evaluate", words(folder, output))
    assert lasting_parts(output) == first
    main("compare", [str(output), str(shutil.copy(output, tmp_path / "other.json"))])
    monkeypatch.setattr("latent_trainer.model.modeling.LatentForCausalLM.generate", None)
    main("evaluate", words(folder, output))
    assert lasting_parts(output) == first


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dataset": "gsm8k"}, "suite=gsm says which data sets are read, and dataset does too; give one of the two"),
        ({"dataset_test_path": "a.jsonl"}, "dataset_test_path does too; give suite_paths for local files"),
        ({"split": "validation"}, "and split does too"),
        ({"controls": "zero"}, "controls compares answers on one data set"),
        ({"sweep_latents": "true"}, "sweep_latents compares answers on one data set"),
        ({"suite": "gms"}, "suite='gms' is not one of gsm; did you mean 'gsm'?"),
        ({"suite": None}, "suite_paths has no effect without suite"),
        ({"suite_paths": '{"svmap": "a.json"}'}, "data set of suite_paths='svmap' is not one of"),
        ({"suite_paths": '{"svamp": 3}'}, "the path of 'svamp' is 3; give a file or folder"),
        ({"suite_paths": "svamp"}, "suite_paths"),
    ],
)
def test_what_is_refused(folder, capsys, options, message):
    with pytest.raises(SystemExit) as stopped:
        main("evaluate", words(folder, **options))
    printed = capsys.readouterr().err.strip()
    assert stopped.value.code == 2 and message in printed and "\n" not in printed


def test_a_data_set_of_the_file_is_refused_too(folder, tmp_path, capsys):
    (tmp_path / "run.yaml").write_text("dataset: gsm8k\n")
    with pytest.raises(SystemExit):
        main("evaluate", [*words(folder), "--config", str(tmp_path / "run.yaml")])
    assert "and dataset does too" in capsys.readouterr().err


def test_a_check_of_a_problem_decides(folder, tmp_path):
    """In the command too: what a check accepts is right, whatever the reference; the answers say which check it was."""
    rows = [json.loads(line) for line in (folder / "problems.jsonl").read_text().splitlines()][:20]
    checked = [
        {**row, "answer": "4", "check": f"within {1_000_000_000 if n % 2 else 0.5} of 4"} for n, row in enumerate(rows)
    ]
    (tmp_path / "checked.jsonl").write_text("".join(json.dumps(row) + "\n" for row in checked))
    options = {"suite": None, "suite_paths": None, "dataset": "jsonl", "dataset_test_path": tmp_path / "checked.jsonl"}
    main("evaluate", words(folder, tmp_path / "record.json", **options))
    record, answers = read(tmp_path / "record.json")
    own = answers["intact"]
    assert [one["check"] for one in own] == [row["check"] for row in checked]
    right = [one["strict"] is not None and (n % 2 == 1 or one["strict"] == "4") for n, one in enumerate(own)]
    assert [one["correct"] for one in own] == right and sum(right) >= 9
    assert record["accuracy"] == pytest.approx(sum(right) / 20)


def test_the_average_weighs_every_set_alike():
    row = {
        "accuracy_flexible": 0.5,
        "accuracy_flexible_stderr": 0.0,
        "invalid": 0.0,
        "tokens_written": 2.0,
        "passes": 3.0,
        "latents": 2,
    }
    row |= {"seconds_per_problem": 0.1}
    several = {"pass@2": 1.0, "pass@2_stderr": 0.06, "majority": 0.4, "majority_stderr": 0.1}
    rows = {
        "a": {**row, **several, "accuracy": 1.0, "accuracy_stderr": 0.3, "problems": 10},
        "b": {
            **row,
            **several,
            "pass@2": 0.5,
            "pass@2_stderr": 0.08,
            "accuracy": 0.0,
            "accuracy_stderr": 0.4,
            "problems": 90,
        },
    }
    means = average(rows)
    assert (means["accuracy"], means["accuracy_stderr"], means["problems"]) == (0.5, pytest.approx(0.25), 100)
    assert (means["pass@2"], means["pass@2_stderr"], means["majority"]) == (0.75, pytest.approx(0.05), 0.4)


def test_a_score_that_a_set_lacks_has_no_average():
    row = dict.fromkeys(("invalid", "tokens_written", "passes", "latents", "seconds_per_problem", "accuracy"), 0.5)
    row |= {"accuracy_stderr": 0.1, "problems": 10}
    means = average({"a": {**row, "pass@2": 1.0, "pass@2_stderr": 0.0}, "b": row})
    assert "pass@2" not in means and means["accuracy"] == 0.5
