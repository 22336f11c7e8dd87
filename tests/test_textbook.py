"""The textbook format, exporting to files, and checking a file."""

import itertools
import json
import re

import pytest

from latent_trainer.cli import main
from latent_trainer.data import as_problems, load_problems
from latent_trainer.errors import InputError


def entry(number: int, **changes) -> dict:
    """Return an entry of a textbook file."""
    whole = {"exercise": f"1.{number}", "text": f"What is {number} + 1?", "type": "answer-based", "answer": str(number + 1)}
    return {**whole, **changes}


@pytest.fixture
def book(tmp_path):
    """Return a function that writes entries to a file."""

    def write(entries) -> str:
        path = tmp_path / "book.json"
        path.write_text(json.dumps(entries))
        return str(path)

    return write


def ids(path: str, **options) -> dict[str, list[str]]:
    """Return the exercises of every split."""
    return {
        split: list(load_problems("textbook", split, path, **options)["id"]) for split in ("train", "validation", "test")
    }


def test_types(book):
    path = book([entry(1), entry(2, type="proof-based"), entry(3, type="open-ended"), entry(4), entry(5)])
    assert sum(map(len, ids(path).values())) == 3
    chosen = ids(path, types=["answer-based", "proof-based"])
    assert sorted(itertools.chain(*chosen.values())) == ["1.1", "1.2", "1.4", "1.5"]
    with pytest.raises(InputError, match=r"proof.*is not one of"):
        load_problems("textbook", path=path, types=["proof"])


def test_splits_by_seed(book):
    path = book([entry(number) for number in range(20)])
    drawn = ids(path)
    assert {split: len(own) for split, own in drawn.items()} == {"train": 14, "validation": 2, "test": 4}
    assert len(set(itertools.chain(*drawn.values()))) == 20
    assert ids(path) == drawn != ids(path, seed=1)


def test_splits_by_name(book):
    path = book([entry(number) for number in range(20)])
    named = ids(path, test_exercises=["1.3", "1.17"], validation_exercises=["1.5"])
    assert (named["test"], named["validation"], len(named["train"])) == (["1.3", "1.17"], ["1.5"], 17)
    half = ids(path, test_exercises=["1.3"])
    assert half["test"] == ["1.3"] and len(half["validation"]) == 2 and "1.3" not in half["validation"]


@pytest.mark.parametrize(
    ("entries", "options", "message"),
    [
        ([entry(1), entry(2, answer="")], {}, "entry 2: field 'answer'"),
        ([entry(1), {"exercise": "2"}], {}, "entry 2: type None"),
        ([entry(1), entry(2, type="answer based")], {}, "entry 2: type 'answer based' is none of answer-based"),
        ([entry(1), entry(2, steps="one")], {}, "entry 2: field 'steps'"),
        ([entry(1), "text"], {}, "entry 2: expected an object, found str"),
        ({"exercise": "1"}, {}, "expected a JSON list of exercises, found dict"),
        ([entry(1), entry(1, text="Again?")], {}, "exercise '1.1' appears twice"),
        ([entry(1)], {"test_exercises": ["9.9"]}, "test_exercises names '9.9'"),
        ([entry(1)], {"test_exercises": ["1.1"], "validation_exercises": ["1.1"]}, "in validation_exercises and in test"),
        ([entry(1, type="proof-based")], {}, "is empty"),
    ],
)
def test_bad_files(book, entries, options, message):
    with pytest.raises(InputError, match=message) as caught:
        load_problems("textbook", "train", book(entries), **options)
    assert "\n" not in str(caught.value)


def test_no_file(tmp_path):
    with pytest.raises(InputError, match="needs a file"):
        load_problems("textbook")
    with pytest.raises(FileNotFoundError, match=r"no file .*absent\.json"):
        load_problems("textbook", path=str(tmp_path / "absent.json"))
    (tmp_path / "broken.json").write_text('[{"exercise": 1,')
    with pytest.raises(InputError, match=r"malformed JSON .line 1"):
        load_problems("textbook", path=str(tmp_path / "broken.json"))


@pytest.mark.parametrize("suffix", ["json", "jsonl", "parquet"])
def test_export_and_read_back(tmp_path, suffix, capsys):
    """What is exported passes the check and reads back as the same problems."""
    path = str(tmp_path / f"out.{suffix}")
    main("data", ["export", "--dataset", "convex", "--split", "test_harder", "--size", "40", "--output", path])
    main("data", ["validate", "--path", path])
    assert "40 problems, 40 with steps" in capsys.readouterr().out
    loader = "textbook" if suffix == "json" else "jsonl"
    back = as_problems(load_problems(loader, "test", test_path=path))
    original = as_problems(load_problems("convex", "test_harder", size=40))
    if suffix == "json":  # the format has no difficulty
        assert [one.difficulty for one in back] == [0] * 40
    else:
        assert back == original
    for name in ("question", "steps", "answer", "family"):
        assert [getattr(one, name) for one in back] == [getattr(one, name) for one in original]


def test_validate_names_every_fault(book, capsys):
    path = book([entry(1), entry(2, answer=""), entry(3, type="x"), entry(4, text=entry(1)["text"])])
    with pytest.raises(SystemExit, match="2"):
        main("data", ["validate", "--path", path])
    printed = capsys.readouterr()
    assert [number for number in (2, 3, 4) if f"entry {number}: " in printed.out] == [2, 3, 4]
    assert "3 of 4 entries are wrong" in printed.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["export", "--dataset", "convex", "--output", "x.csv"], r"suffix of the output='\.csv' is not one of \.json"),
        (["export", "--dataset", "convex", "--output", "x.json", "--split", "tests"], "did you mean 'test'"),
        (["export", "--dataset", "gsm8k", "--output", "x.json", "--size", "3"], "size"),
        (["exprot"], "did you mean 'export'"),
        (["validate", "--path", "absent.jsonl"], "no file absent.jsonl"),
    ],
)
def test_bad_words(words, message, capsys):
    with pytest.raises(SystemExit, match="2"):
        main("data", words)
    assert re.search(message, capsys.readouterr().err)
