"""Splits from files do not leak: carving by question, a file for each split, folders."""

import json
from pathlib import Path

import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, IterableDatasetDict, Value

from latent_trainer.cli.arguments import DataArguments, parse
from latent_trainer.data import as_problems, load_problems
from latent_trainer.data.problem import Problem
from latent_trainer.data.splits import carve, same_question
from latent_trainer.errors import InputError


def rows(number: int, name: str = "q", **more) -> list[dict]:
    """Return rows of one's own."""
    return [{"question": f"{name} {row}", "steps": [f"s {row}"], "answer": str(row), **more} for row in range(number)]


def write(path, data) -> str:
    """Write rows as lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in data))
    return str(path)


# ---- carving ----


def test_equal_questions_fall_on_one_side(tmp_path):
    """However they are spelt, for any seed; the share is one of the different questions."""
    spelt = [
        {"question": text.format(number), "answer": "1"}
        for text in ("How many x{}?", "how many  X{} ?", "How many x{}")
        for number in range(40)
    ]
    path = write(tmp_path / "a.jsonl", spelt)
    for seed in range(5):
        parts = [load_problems("jsonl", split, path, seed=seed)["question"] for split in ("train", "validation")]
        assert (len(parts[0]), len(parts[1])) == (114, 6)
        train, validation = ({same_question(question) for question in part} for part in parts)
        assert not train & validation


def test_what_is_carved_stays(tmp_path):
    """Where no question repeats, the rows held out are those that were drawn before questions were compared."""
    path = write(tmp_path / "a.jsonl", rows(50))
    assert load_problems("jsonl", "validation", path)["question"] == ["q 24", "q 48"]


def test_the_seed_decides_what_is_held_out():
    problems = [Problem(f"q {number}", (), "1") for number in range(50)]
    held_out = [tuple(one.question for one in carve(problems, "validation", seed)) for seed in (0, 1, 2, 0)]
    assert len(set(held_out)) == 3 and held_out[0] == held_out[3]


def test_same_question():
    assert same_question(" What is\n2 + 3 ?") == same_question("what is 2 + 3") == same_question("What is \uff12 + 3.")
    assert same_question("2 + 3") != same_question("2 - 3")


def test_one_question_is_not_split(tmp_path):
    path = write(tmp_path / "a.jsonl", rows(1) * 5)
    assert len(load_problems("jsonl", "train", path)) == 5
    with pytest.raises(InputError, match="too few different questions to hold one out; give dataset_validation_path"):
        load_problems("jsonl", "validation", path)


def test_carving_is_not_quadratic():
    problems = [Problem(f"q {number % 30_000}", (), "1") for number in range(40_000)]
    assert len(carve(problems, "train", 0)) + len(carve(problems, "validation", 0)) == 40_000


def exercise(number: int, text: str) -> dict:
    return {"exercise": str(number), "text": text, "type": "answer-based", "answer": "1"}


def test_textbook_keeps_equal_questions_together(tmp_path):
    entries = [
        exercise(number, f"What is {number // 2}?" if number % 2 else f"what is {number // 2} ?") for number in range(40)
    ]
    (tmp_path / "book.json").write_text(json.dumps(entries))
    path = str(tmp_path / "book.json")
    parts = [load_problems("textbook", split, path)["question"] for split in ("train", "validation", "test")]
    assert sum(map(len, parts)) == 40 and len(parts[2]) > len(parts[1]) > 0
    different = [{same_question(question) for question in part} for part in parts]
    assert sum(map(len, different)) == 20
    with pytest.raises(InputError, match="'7' asks the same as '6' of test_exercises"):
        load_problems("textbook", "train", path, test_exercises=["6"])
    assert load_problems("textbook", "test", path, test_exercises=["6", "7"])["id"] == ["6", "7"]


def test_textbook_with_files_of_its_own(tmp_path):
    for name, first in (("train", 0), ("test", 100)):
        (tmp_path / f"{name}.json").write_text(json.dumps([exercise(n, f"t {n}") for n in range(first, first + 20)]))
    files = {"path": str(tmp_path / "train.json"), "test_path": str(tmp_path / "test.json")}
    sizes = [len(load_problems("textbook", split, **files)) for split in ("train", "validation", "test")]
    assert sizes == [18, 2, 20]
    with pytest.raises(InputError, match="test_exercises and a file of the test split"):
        load_problems("textbook", "test", **files, test_exercises=["1"])


# ---- files ----


@pytest.mark.parametrize("name", ["jsonl", "auto"])
def test_no_test_file(tmp_path, name):
    path = write(tmp_path / "a.jsonl", rows(9))
    with pytest.raises(InputError, match=r"test rows in a file of their own, .*a.jsonl is read.*give dataset_test_path"):
        load_problems(name, "test", path)
    assert len(load_problems(name, "test", test_path=path)) == 9
    with pytest.raises(InputError, match="needs a file; give dataset_path"):
        load_problems(name, "train", test_path=path)
    with pytest.raises(InputError, match="needs a file; give dataset"):
        load_problems(name, "test")


def test_a_path_that_is_empty():
    """It is not the folder one is in."""
    with pytest.raises(FileNotFoundError, match="no file"):
        load_problems("jsonl", "train", "")


def test_validation_file(tmp_path):
    """It is the validation split, and nothing is held out of the train rows."""
    train = write(tmp_path / "a.txt", [])
    Path(train).write_text("".join(f"q {n}||<<1+1=2>> #### 2\n" for n in range(50)))
    valid = str(tmp_path / "b.txt")
    Path(valid).write_text("".join(f"v {n}||<<1+1=2>> #### 2\n" for n in range(7)))
    files = {"path": train, "validation_path": valid}
    assert [len(load_problems("gsm8k_aug", split, **files)) for split in ("train", "validation")] == [50, 7]


@pytest.mark.parametrize("name", ["jsonl", "gsm8k", "gsm8k_aug", "textbook", "svamp", "auto"])
@pytest.mark.parametrize("pair", [("path", "test_path"), ("path", "validation_path"), ("validation_path", "test_path")])
def test_one_file_for_two_splits(tmp_path, name, pair):
    path = write(tmp_path / "a.jsonl", rows(9))
    (tmp_path / "link.jsonl").symlink_to(path)
    with pytest.raises(InputError, match=r"link.jsonl is given for .* and for "):
        load_problems(name, "train", **dict(zip(pair, (path, str(tmp_path / "link.jsonl")), strict=True)))


def test_gsm8k_test_rows_are_no_train_rows(tmp_path):
    path = write(tmp_path / "test.jsonl", [{"question": "q", "answer": "a <<1+1=2>>\n#### 2"}])
    assert len(load_problems("gsm8k", "test", path)) == 1
    for split in ("train", "validation"):
        with pytest.raises(InputError, match="is the test split by its name"):
            load_problems("gsm8k", split, path)


# ---- folders ----


@pytest.fixture
def saved(tmp_path):
    """Return a folder written by `datasets`."""
    parts = {name: Dataset.from_list(rows(number, name)) for name, number in (("train", 20), ("valid", 3), ("test", 4))}
    DatasetDict(parts).save_to_disk(str(tmp_path / "saved"))
    return str(tmp_path / "saved")


def test_saved_splits(saved):
    assert [len(load_problems("jsonl", split, saved)) for split in ("train", "validation", "test")] == [20, 3, 4]
    assert as_problems(load_problems("auto", "test", saved))[0].place == f"{saved}/test:1"
    assert len(load_problems("jsonl", "test", test_path=saved)) == 4
    assert [len(load_problems("jsonl", split, f"{saved}/train")) for split in ("train", "validation")] == [19, 1]
    with pytest.raises(InputError, match="a file of their own"):
        load_problems("jsonl", "test", f"{saved}/train")


def test_folder_of_the_hub(tmp_path):
    write(tmp_path / "data" / "train-00000-of-00002.jsonl", rows(30))
    write(tmp_path / "data" / "train-00001-of-00002.jsonl", rows(10, "more"))
    write(tmp_path / "data" / "test-00000-of-00001.jsonl", rows(5, "test"))
    (tmp_path / "README.md").write_text("# data")
    (tmp_path / "data" / "dataset_infos.json").write_text("{}")
    path = str(tmp_path)
    assert [len(load_problems("jsonl", split, path)) for split in ("train", "validation", "test")] == [38, 2, 5]
    ids = load_problems("jsonl", "train", path)["id"]
    assert len(set(ids)) == 38 and all(one.startswith("data/train-0000") for one in ids)


def test_folder_of_single_problems(tmp_path):
    """MATH as it was first published: a file a problem, in folders of splits and subjects."""
    for split in ("train", "test"):
        for subject in ("algebra", "geometry"):
            folder = tmp_path / split / subject
            folder.mkdir(parents=True)
            row = {"problem": f"{split} {subject}", "level": "Level 2", "type": subject, "solution": r"$\boxed{3}$"}
            (folder / "1.json").write_text(json.dumps(row, indent=1))
    problems = as_problems(load_problems("math", "test", str(tmp_path)))
    assert [(one.question, one.id) for one in problems] == [
        ("test algebra", "test/algebra/1.json:1"),
        ("test geometry", "test/geometry/1.json:1"),
    ]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "a folder without data"),
        ({"README.md": 1}, "a folder without data"),
        ({"a.jsonl": 3, "b.jsonl": 3}, "no split is named for a.jsonl"),
        ({"train.jsonl": 3, "other.jsonl": 3}, "no split is named for other.jsonl"),
        ({"main/train.jsonl": 3, "socratic/train.jsonl": 3}, r"several data sets have a train split \(main, socratic\)"),
        ({"test.jsonl": 3}, "dataset 'jsonl' needs a file; give dataset_path"),
    ],
)
def test_folders_that_are_no_data_set(tmp_path, files, message):
    for name, number in files.items():
        write(tmp_path / name, rows(number))
    with pytest.raises(InputError, match=message):
        load_problems("jsonl", "train", str(tmp_path))


def test_folder_of_one_file(tmp_path):
    write(tmp_path / "problems.jsonl", rows(20))
    assert [len(load_problems("jsonl", split, str(tmp_path))) for split in ("train", "validation")] == [19, 1]


# ---- data in memory ----

OTHER = [{"problem": "a", "solution": 7, "why": "First. Second."}, {"problem": "b", "solution": 8.0, "why": "Only."}]
MAPPING = {"question": "problem", "answer": "solution", "steps": "why"}


def test_columns_of_data_sets(tmp_path):
    """A data set, a stream, dictionaries and a file with other names give the same problems."""
    expected = [("a", ("First.", "Second."), "7"), ("b", ("Only.",), "8")]
    data = Dataset.from_list([{**row, "solution": float(row["solution"])} for row in OTHER])
    path = write(tmp_path / "a.jsonl", OTHER)
    loaded = load_problems("jsonl", "test", test_path=path, columns=MAPPING)
    for source, columns in ((data, MAPPING), (data.to_iterable_dataset(), MAPPING), (OTHER, MAPPING), (loaded, None)):
        problems = as_problems(source, columns)
        assert [(one.question, one.steps, one.answer) for one in problems] == expected
    assert [one.place for one in as_problems(loaded)] == [f"{path}:1", f"{path}:2"]


def test_columns_from_the_command_line(tmp_path):
    path = write(tmp_path / "a.jsonl", OTHER)
    words = ["--dataset", "jsonl", "--dataset_test_path", path, "--columns"]
    for columns in ("question=problem, answer=solution,steps=why", json.dumps(MAPPING)):
        (args,) = parse("evaluate", (DataArguments,), [*words, columns])
        assert args.columns == MAPPING
        assert args.load("test")["answer"] == ["7", "8"]
    config = tmp_path / "config.yaml"
    config.write_text("columns:\n  question: problem\n  answer: solution\n  steps:\n")
    (args,) = parse("evaluate", (DataArguments,), [*words[:-1], "--config", str(config)])
    assert args.load("test")["steps"][0] == []


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"questoin": "problem"}, "field of columns='questoin' is not one of .*did you mean 'question'"),
        ({"question": "problme"}, r"a.jsonl:1: columns names 'problme', which the row lacks; did you mean 'problem'"),
        ({"question": "problem", "answer": "problem"}, "columns reads column 'problem' twice"),
        ({"question": 3}, "must map fields to columns"),
        (["question"], "columns"),
    ],
)
def test_columns_that_cannot_be(tmp_path, columns, message):
    with pytest.raises(InputError, match=message):
        load_problems("jsonl", path=write(tmp_path / "a.jsonl", OTHER), columns=columns)


@pytest.mark.parametrize("words", ["question", "question=a,question=b", "=a", '{"question": '])
def test_columns_that_are_no_mapping(words):
    with pytest.raises(InputError, match="columns="):
        DataArguments(columns=words)


def test_options_of_paths_have_names_of_their_own():
    for name in ("validation_path", "test_path", "columns"):
        with pytest.raises(InputError, match=f"dataset_options may not have '{name}'; set "):
            DataArguments(dataset_options={name: "x"})
    for name in ("max_train_problems", "max_eval_problems"):
        with pytest.raises(InputError, match=f"{name}=-1 must be at least 1"):
            DataArguments(**{name: -1})
    with pytest.raises(InputError, match="'arithmetic' has no option 'columns'"):
        DataArguments(dataset="arithmetic", columns="question=a").load("train")


def test_labels_are_their_names():
    features = Features({"question": Value("string"), "answer": ClassLabel(names=["no", "yes"])})
    data = Dataset.from_dict({"question": ["a", "b"], "answer": [1, 0]}, features=features)
    assert [one.answer for one in as_problems(data)] == ["yes", "no"]
    assert [one.answer for one in as_problems(data.select([1]).with_format("torch"))] == ["no"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (DatasetDict(train=Dataset.from_list(rows(2))), "give one, such as data\\['train'\\]"),
        (IterableDatasetDict(train=Dataset.from_list(rows(2)).to_iterable_dataset()), "give one, such as data\\['train'\\]"),
        (Dataset.from_list([{"question": "q", "answer": "It is 2.\n#### 2"}]), "row 0: a row of 'gsm8k'"),
        (Dataset.from_list([{"problem": "q", "solution": "2"}]), "row 0: a row of 'math'"),
        (Dataset.from_list([{"prompt": "q", "completion": "2"}]), r"row 0 has no question .*\(it has prompt, completion;"),
        ([{"question": "q", "answer": float("nan")}], "row 0: field 'answer' is empty or not a text"),
        ([{"question": "q", "answer": "1", "steps": [None]}], "row 0: field 'steps'"),
        ([{"question": "q", "answer": "1", "solution": "It is 1."}], "row 0: field 'solution' looks like written reasoning"),
        (["q"], "row 0 is str, not a problem"),
        ([{"question": "q", "answer": "a\nb", "place": "file.jsonl:7"}], "file.jsonl:7: field 'answer' goes over 2 lines"),
    ],
    ids=range(10),
)
def test_data_that_cannot_be(data, message):
    with pytest.raises(InputError, match=message):
        as_problems(data)


def test_numbers_of_rows_are_their_ids():
    given = [{"question": "a", "answer": "1", "id": 0}, {"question": "b", "answer": "1"}]
    assert [one.id for one in as_problems(given)] == ["0", "1"]
