"""`latent-trainer data validate`: which data set reads a file, and everything that is wrong with it."""

import json

import pytest

from latent_trainer.cli import main

GOOD = {"question": "How many?", "steps": ["<<1+1=2>>"], "answer": "2"}
EXERCISE = {"exercise": "1", "text": "t", "type": "answer-based", "answer": 1}
BOOK = [EXERCISE, {**EXERCISE, "exercise": "2", "text": "Show it.", "type": "proof-based", "answer": None}]


@pytest.fixture
def check(tmp_path, capsys, monkeypatch):
    """Return a function that checks files of these lines and returns the status and what was printed."""
    monkeypatch.chdir(tmp_path)

    def run(files: dict[str, list], *words: str) -> tuple[int, str]:
        for name, lines in files.items():
            texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
            (tmp_path / name).write_text("\n".join(texts) + "\n")
        status = 0
        try:
            main("data", ["validate", "--path", *files, *words])
        except SystemExit as error:
            status = error.code
        printed = capsys.readouterr()
        return status, printed.out + printed.err

    return run


@pytest.mark.parametrize(
    ("name", "lines", "says"),
    [
        ("a.jsonl", [GOOD], "dataset 'jsonl' reads it; 1 problems, 1 with steps"),
        ("a.jsonl", [{**GOOD, "edges": [1]}], "fields left out: edges; nothing wrong"),
        ("a.jsonl", [{"question": "q", "answer": "so\n#### 2"}], "dataset 'gsm8k' reads it; 1 problems, 0 with steps"),
        ("a.txt", ["q||<<1+1=2>> #### 2"], "dataset 'gsm8k_aug' reads it"),
        ("a.jsonl", [{"problem": "p", "solution": "\\boxed{1}"}], "dataset 'math' reads it"),
        ("a.jsonl", [{"question": "q", "options": ["A)1"], "correct": "A"}], "dataset 'aqua' reads it"),
        ("a.jsonl", [{"Body": "b", "Question": "q", "Answer": 1.0}], "dataset 'svamp' reads it"),
        (
            "a.jsonl",
            BOOK,
            "dataset 'textbook' reads it; 1 problems, 0 with steps, 0 families, 1 without an answer left out; nothing wrong",
        ),
    ],
)
def test_which_data_set_reads_a_file(check, name, lines, says):
    status, printed = check({name: lines})
    assert status == 0 and says in printed


def test_every_fault_is_named(check):
    """All that loading, training and evaluation refuse, each with its line."""
    faults = {
        2: ({**GOOD, "question": "b", "answer": float("nan")}, "nan"),
        3: ('{"question": "c", "answer": "1",}', "malformed JSON"),
        4: ('{"question": "d", "answer": ' + "9" * 5000 + "}", "5000 digits"),
        5: ({**GOOD, "question": "e \ud800"}, "lone surrogate"),
        6: ({**GOOD, "question": "f <|latent|>"}, "<|latent|>"),
        7: ({**GOOD, "question": "g", "steps": ["<|eot|>"]}, "holds the thought token <|eot|>"),
        8: ({**GOOD, "question": "h", "answer": "a\nb"}, "goes over 2 lines"),
        9: ({**GOOD, "question": "i", "answer": "x ### 3"}, "written as '### ...', is read as 'x'"),
        10: ({**GOOD, "question": "j", "id": "a.jsonl:1"}, "the id 'a.jsonl:1' as a.jsonl:1"),
        11: ({**GOOD, "question": "how MANY ?"}, "the same question as a.jsonl:1"),
        12: ({"question": "k", "answer": "1", "rationale": "Because."}, "looks like written reasoning"),
        13: ({"problem": "p", "solution": "s"}, "a row of 'math'"),
    }
    status, printed = check({"a.jsonl": [GOOD, *(line for line, _ in faults.values())]})
    assert status == 2
    lines = printed.splitlines()
    for number, (_, says) in faults.items():
        (line,) = [line for line in lines if line.startswith(f"a.jsonl:{number}: ")]
        assert says in line
    assert "12 of 13 entries are wrong" in lines[-1]


def test_template_and_data_set(check):
    row = {**GOOD, "question": "Close </think>?", "answer": "x = 3"}
    assert check({"a.jsonl": [row]})[0] == 0
    status, printed = check({"a.jsonl": [row]}, "--template", "r1")
    assert status == 2 and "thought token </think>" in printed
    status, printed = check({"a.jsonl": [{**row, "question": "q"}]}, "--template", "plain")
    assert status == 2 and "written as '= ...', is read as '3'" in printed
    status, printed = check({"a.jsonl": [GOOD]}, "--dataset", "svamp")
    assert status == 2 and "load it with dataset 'jsonl'" in printed
    assert check({"a.jsonl": [{"q": "a", "a": "1"}]}, "--columns", "question=q,answer=a")[0] == 0


def test_overlaps(check):
    """Questions that two files share are counted, for every two."""
    files = {
        name: [{"question": f"Q {n}", "answer": "1"} for n in numbers]
        for name, numbers in (("a.jsonl", range(9)), ("b.jsonl", range(6, 12)), ("c.jsonl", range(20, 22)))
    }
    files["b.jsonl"][0]["question"] = "q  6?"
    status, printed = check(files)
    assert status == 2
    assert "a.jsonl and b.jsonl: 3 questions in both (a.jsonl:7 = b.jsonl:1, a.jsonl:8 = b.jsonl:2, " in printed
    assert "c.jsonl:" not in printed.split("share questions")[0].split("in both")[1]
    del files["b.jsonl"]
    status, printed = check(files)
    assert status == 0 and "no question in two of the 2 files" in printed


def test_splits_of_a_folder(check, tmp_path):
    for name in ("train", "test"):
        (tmp_path / "data").mkdir(exist_ok=True)
        (tmp_path / "data" / f"{name}.jsonl").write_text(json.dumps(GOOD))
    with pytest.raises(SystemExit):
        main("data", ["validate", "--path", "data"])
    status, printed = check({}, "data")
    assert status == 2 and "1 questions in both" in printed


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.jsonl", "", "a.jsonl is empty"),
        ("a.jsonl", json.dumps(GOOD).encode("utf-16"), "UTF-16"),
        ("a.csv", "question,answer\nq,1\nr\n", "a.csv:3: 1 cells under 2 columns"),
        ("a.csv", 'question,answer\nq,1\n"r"r,1\n', "a.csv:3: malformed table"),
        ("a.jsonl", '{"prompt": "p"}', "rows of prompt are of no known form"),
    ],
)
def test_files_that_cannot_be_checked(tmp_path, capsys, name, content, says):
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(SystemExit, match="2"):
        main("data", ["validate", "--path", str(tmp_path / name)])
    printed = capsys.readouterr()
    assert says in printed.out + printed.err
