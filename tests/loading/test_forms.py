"""Every published form loads as it is: the table of docs/data.md, written to files and read back."""

import doctest
import gzip
import json
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import shared_file

from latent_trainer.data import DATASETS, as_problems, load_problems, reasoning
from latent_trainer.data.forms import FORMS, recognise
from latent_trainer.errors import InputError

PAGE = Path(__file__).resolve().parents[2] / "docs" / "data.md"


def table() -> list[list[str]]:
    """Return the cells of the table of forms, without code marks."""
    part = PAGE.read_text(encoding="utf-8").split("<!-- forms:")[1].split("\nEach of these")[0]
    lines = [line for line in part.splitlines() if line.startswith("|")][2:]
    return [
        [cell.strip().strip("`").replace("\\|", "|").replace("⏎", "\n") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line in lines
    ]


FORMS_OF_PAGE = table()
BY_NAME = ("aime", "gsm8k_aug_nl", "gsm_hard", "math500", "prosqa")  # rows that `auto` does not take for theirs


def write(folder, name: str, content: str, encoding: str = "utf-8") -> str:
    """Write a file as a cell of the table describes it."""
    path = folder / name
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist([json.loads(content)]), path)
    else:
        path.write_bytes(content.encode(encoding))
    return str(path)


@pytest.mark.parametrize(
    ("name", "content", "dataset", "question", "steps", "answer"),
    [row[1:] for row in FORMS_OF_PAGE],
    ids=[f"{row[0]}, {row[1]}" for row in FORMS_OF_PAGE],
)
def test_form(tmp_path, name, content, dataset, question, steps, answer):
    """By name and recognised, as train rows and as the file of another split; with a byte order mark, CRLF, blanks, gz."""
    path = write(tmp_path, name, content)
    expected = (question, tuple(json.loads(steps)), answer)
    loads = [(dataset, "train", {"path": path}), (dataset, "test", {"test_path": path})]
    if dataset not in BY_NAME:
        loads.append(("auto", "validation", {"validation_path": path}))
    if not name.endswith(".parquet"):
        marked = write(tmp_path, f"marked-{name}", content.replace("\n", "\r\n"), "utf-8-sig")
        loads.append((dataset, "train", {"path": marked}))
        blank = write(tmp_path, f"blank-{name}", f"\n\n{content}\n\n")
        packed = tmp_path / f"{name}.gz"
        packed.write_bytes(gzip.compress(content.encode()))
        loads += [(dataset, "test", {"test_path": path}) for path in (blank, str(packed))]
    for loader, split, files in loads:
        (problem,) = as_problems(load_problems(loader, split, **files))
        assert (problem.question, problem.steps, problem.answer) == expected
        assert Path(next(iter(files.values()))).name in problem.place


@pytest.mark.parametrize(
    "row", [row for row in FORMS_OF_PAGE if row[1].endswith((".txt", ".jsonl"))], ids=lambda row: row[0]
)
def test_a_broken_line_is_named(tmp_path, row):
    """With its file and line, whatever the data set."""
    broken = "no bars" if row[1].endswith(".txt") else '{"nothing": 1}'
    path = write(tmp_path, row[1], f"{row[2].rstrip()}\n\n{broken}\n")
    with pytest.raises(InputError) as caught:
        load_problems(row[3], "test", test_path=path)
    assert str(caught.value).startswith(f"{path}:{len(row[2].rstrip().splitlines()) + 2}: ")
    assert "\n" not in str(caught.value)


def test_number_of_forms():
    assert len(FORMS_OF_PAGE) == 33
    assert {row[3] for row in FORMS_OF_PAGE} | {"auto"} == {*FORMS, *BY_NAME, "auto"} <= set(DATASETS)


@pytest.mark.parametrize("row", [row for row in FORMS_OF_PAGE if row[3] != "jsonl"], ids=lambda row: row[0])
def test_own_rows_are_told_from_published_ones(tmp_path, row):
    """The data set for one's own rows names the one to use; rows of GSM8K-Aug on the Hub have its very fields."""
    path = write(tmp_path, row[1], row[2])
    if "Hub" in row[0] or row[3] == "prosqa":
        assert len(load_problems("jsonl", path=path)) == 1
        return
    if FORMS.get(row[3], FORMS["jsonl"]).by_name:
        with pytest.raises(InputError, match=f"{row[1]}:1: field '(question' is missing|Solution' looks like)"):
            load_problems("jsonl", path=path)
        return
    wanted = {"gsm8k_aug_nl": "gsm8k_aug", "math500": "math"}.get(row[3], row[3])
    with pytest.raises(InputError, match=f"row of '{wanted}'.*load it with dataset '{wanted}'") as caught:
        load_problems("jsonl", path=path)
    assert row[1] in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("dataset", [name for name in FORMS if name != "jsonl"])
def test_published_data_sets_are_told_from_own_rows(tmp_path, dataset):
    rows = {"question": "q", "steps": ["<<1+1=2>>"], "answer": "2"}
    path = write(tmp_path, "own.jsonl", json.dumps(rows))
    if dataset in ("gsm8k_aug", "prontoqa"):
        assert as_problems(load_problems(dataset, path=path))[0].steps == ("<<1+1=2>>",)
        return
    with pytest.raises(InputError, match=r"own.jsonl:1: .*dataset 'jsonl'"):
        load_problems(dataset, path=path)


def test_unknown_rows(tmp_path):
    path = write(tmp_path, "chat.jsonl", '{"prompt": "q", "completion": "a"}')
    with pytest.raises(InputError, match=r"chat.jsonl:1: rows of prompt, completion are of no known form; known are gsm8k"):
        load_problems("auto", path=path)
    with pytest.raises(InputError, match=r"'question' is missing .*the row has prompt, completion; .*columns question="):
        load_problems("jsonl", path=path)
    mapped = {"question": "prompt", "answer": "completion"}
    assert load_problems("auto", path=path, columns=mapped)["answer"] == ["a"]
    assert recognise({"prompt": "q"}) is None


def test_columns_of_published_rows(tmp_path):
    """A mapping gives the names that the data set reads; what it then is is recognised as well."""
    path = write(tmp_path, "a.jsonl", '{"q": "q", "a": "<<1+1=2>>2\\n#### 1,002", "rationale": "r"}')
    for name in ("gsm8k", "auto"):
        (problem,) = as_problems(load_problems(name, path=path, columns={"question": "q", "answer": "a"}))
        assert (problem.question, problem.steps, problem.answer) == ("q", ("<<1+1=2>>",), "1002")
    path = write(tmp_path, "b.jsonl", '{"q": "q", "s": ["s"], "answer": "1,002"}')
    (problem,) = as_problems(load_problems("gsm8k_aug", path=path, columns={"question": "q", "steps": "s"}))
    assert (problem.steps, problem.answer) == (("s",), "1002")


def test_a_row_that_has_the_fields_of_two_forms(tmp_path):
    """Options are part of a question, so a row that has them is not one's own form."""
    row = {"question": "q", "options": ["A)1", "B)2"], "correct": "B", "answer": "2"}
    path = write(tmp_path, "a.jsonl", json.dumps(row))
    assert load_problems("aqua", path=path)["answer"] == load_problems("auto", path=path)["answer"] == ["B"]
    with pytest.raises(InputError, match="load it with dataset 'aqua'"):
        load_problems("jsonl", path=path)


@pytest.mark.parametrize("name", ["jsonl", "prosqa", "auto"])
def test_published_prosqa(name):
    path = str(shared_file("data/prosqa/valid.json"))
    train, validation = (as_problems(load_problems(name, split, path=path)) for split in ("train", "validation"))
    assert (len(train), len(validation)) == (245, 12)
    assert all(problem.steps and problem.answer.endswith(".") for problem in train)


def test_marks_in_front_of_an_answer(tmp_path):
    """CODI's training code takes them away; a row of GSM8K, which has its reasoning before them, is told apart."""
    path = write(tmp_path, "a.jsonl", '{"question": "q", "cot": "He has 3. He buys 4.", "answer": "#### 7"}')
    for name in ("gsm8k_aug", "gsm8k_aug_nl"):
        assert load_problems(name, path=path)["answer"] == ["7"]
    path = write(tmp_path, "b.jsonl", '{"question": "q", "answer": "He has 7. #### 7"}')
    with pytest.raises(InputError, match="load it with dataset 'gsm8k'"):
        load_problems("gsm8k_aug", path=path)


# ---- iCoT ----


@pytest.mark.parametrize(
    ("line", "question", "steps"),
    [
        ("Find |x|||<<1+1=2>> #### 2", "Find |x|", ("<<1+1=2>>",)),
        ("Is a || b?||He adds 1. He has 2. #### 2", "Is a || b?", ("He adds 1.", "He has 2.")),
        ("q|| #### 2", "q", ()),
        ("q||3*4=12 12+1=13 #### 13", "q", ("3*4=12", "12+1=13")),
        ("q||<<1+1=2>>,<<2+2=4>> #### 4", "q", ("<<1+1=2>>", "<<2+2=4>>")),
        ("q||1. He buys 4.\t2. Dr. Who has $5. #### 4", "q", ("1. He buys 4.", "2. Dr. Who has $5.")),
    ],
)
def test_icot_line(tmp_path, line, question, steps):
    (problem,) = as_problems(load_problems("gsm8k_aug", path=write(tmp_path, "a.txt", line + "\n")))
    assert (problem.question, problem.steps) == (question, steps)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("Find |x||y|||He adds. #### 2", "the end of the question is unclear"),
        ("Is it. || so? || He adds. #### 2", "the end of the question is unclear"),
        ("no bar #### 2", "expected 'question"),
        ("q||no mark", "expected 'question"),
        ("q||<<1+1=2>> ####", "expected 'question"),
        ("||<<1+1=2>> #### 2", "expected 'question"),
        ("q||<<1+1=2 #### 2", "not closed"),
        ("q||<<1+1=2>> #### 2 r||<<1+1=2>> #### 2", "appears twice"),
        ("q||<<1+1=2>> #### 2\rr||<<1+1=2>> #### 2", "carriage return"),
        ("q||<<1+1=2>> #### nan", "'nan'"),
    ],
)
def test_icot_line_that_cannot_be_told(tmp_path, line, message):
    path = write(tmp_path, "a.txt", f"good||<<1+1=2>> #### 2\n{line}\n")
    with pytest.raises(InputError, match=message) as caught:
        load_problems("gsm8k_aug", path=path)
    assert str(caught.value).startswith(f"{path}:2: ") and "\n" not in str(caught.value)


def test_commas_of_answers(tmp_path):
    """Those that group digits go, those of a list stay."""
    lines = "".join(f"q{n}|| #### {answer}\n" for n, answer in enumerate(["1,234,567", "(1, 2)", "3,14", "{1,2,3}"]))
    problems = as_problems(load_problems("gsm8k_aug", "test", test_path=write(tmp_path, "a.txt", lines)))
    assert [problem.answer for problem in problems] == ["1234567", "(1, 2)", "3,14", "{1,2,3}"]


@pytest.mark.parametrize(
    ("written", "steps"),
    [
        ("He buys 4 more so he has 7", ["He buys 4 more so he has 7"]),
        ("3 + 4 = 7 7 * 2 = 14", ["3 + 4 = 7", "7 * 2 = 14"]),
        ("12 / 4 = 3.5 (3.5 - 1) = 2.5", ["12 / 4 = 3.5", "(3.5 - 1) = 2.5"]),
        ("The U.S. Army has 3. It is at No. 5 now.", ["The U.S. Army has 3.", "It is at No. 5 now."]),
        ("No. He has 5.", ["No.", "He has 5."]),
        ("We have\n\\[\nx = 1. Y\n\\]\nSo 1.", ["We have", "\\[ x = 1. Y \\]", "So 1."]),
        (
            "So\n\\begin{align*}\nx &= 1 \\\\[2pt]\ny &= 2.\n\\end{align*}\nIt is 3.",
            ["So", "\\begin{align*} x &= 1 \\\\[2pt] y &= 2. \\end{align*}", "It is 3."],
        ),
        ("[asy]\ndraw(a);\n\ndraw(b);\n[/asy]\nEnd.", ["[asy] draw(a); draw(b); [/asy]", "End."]),
        ("It is $$x. He pays $5. She pays.", ["It is $$x.", "He pays $5.", "She pays."]),
    ],
)
def test_a_text_is_cut_where_a_step_ends(tmp_path, written, steps):
    """Never into words, nor within an equation, a display or a figure."""
    row = {"question": "q", "cot": written, "answer": "1"}
    for name in ("jsonl", "gsm8k_aug", "gsm8k_aug_nl"):
        (problem,) = as_problems(load_problems(name, path=write(tmp_path, "a.jsonl", json.dumps(row))))
        assert list(problem.steps) == steps


def test_steps_of_a_text():
    result = doctest.testmod(reasoning)
    assert result.attempted >= 3 and result.failed == 0


# ---- MATH and AQuA ----


@pytest.mark.parametrize(
    ("solution", "answer"),
    [
        (r"First $\boxed{1}$, then $\boxed{\sqrt{2}}$.", r"\sqrt{2}"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"So \fbox{3}.", "3"),
        (r"So $\boxed 4$.", "4"),
        (r"\boxed{\text{a" + "\n" + "b}}", r"\text{a b}"),
    ],
)
def test_boxed(tmp_path, solution, answer):
    path = write(tmp_path, "math.jsonl", json.dumps({"problem": "p", "level": "Level ?", "solution": solution}))
    (problem,) = as_problems(load_problems("math", path=path))
    assert (problem.answer, problem.difficulty) == (answer, 0)


@pytest.mark.parametrize(
    ("dataset", "row", "message"),
    [
        ("math", {"problem": "p", "solution": "It is 2."}, r"has no \\boxed"),
        ("math", {"problem": "p", "solution": r"It is \boxed{2."}, r"has no \\boxed"),
        ("math", {"problem": "p"}, "'solution' is missing"),
        ("aqua", {"question": "q", "options": ["A)1"], "correct": "B"}, "'B', which is none of the options A"),
        ("aqua", {"question": "q", "options": ["1", "2"], "correct": "A"}, "a letter each"),
        ("aqua", {"question": "q", "options": ["A)1", "A)2"], "correct": "A"}, "a letter each"),
        ("svamp", {"Body": "b", "Question": "q", "Answer": None}, "'Answer' is missing"),
        ("gsm8k", {"question": "q", "answer": "18"}, "does not end in '#### value'.*'jsonl'"),
        ("gsm8k", {"question": "q", "answer": "a\n#### 5\nmore"}, "goes over 2 lines"),
    ],
)
def test_published_row_that_is_wrong(tmp_path, dataset, row, message):
    path = write(tmp_path, "a.jsonl", json.dumps(row))
    with pytest.raises(InputError, match=message) as caught:
        load_problems(dataset, path=path)
    assert str(caught.value).startswith(f"{path}:1: ") and "\n" not in str(caught.value)


# ---- fields that are not read ----


def test_fields_left_out_are_named_once(tmp_path, caplog):
    path = write(
        tmp_path, "a.jsonl", "".join(json.dumps({"question": f"q{n}", "answer": "1", "source": n}) + "\n" for n in range(9))
    )
    with caplog.at_level("WARNING"):
        load_problems("jsonl", path=path)
        load_problems("jsonl", "validation", path=path)
    lines = [record.getMessage() for record in caplog.records if path in record.getMessage()]
    assert lines == [f"{path}: 'jsonl' does not read the fields source; they are left out"]


@pytest.mark.parametrize("field", ["rationale", "solution", "gold_cot", "chain_of_thought", "solutionSteps", "Explanation"])
def test_reasoning_is_not_left_out(tmp_path, field):
    """A row without steps whose reasoning stands under another name is refused; two ways out are named, and work."""
    path = write(tmp_path, "a.jsonl", json.dumps({"question": "q", "answer": "1", field: "One. Two."}))
    with pytest.raises(InputError, match=f"field '{field}' looks like written reasoning.*columns steps={field}"):
        load_problems("jsonl", path=path)
    load = {columns: as_problems(load_problems("jsonl", path=path, columns={"steps": columns})) for columns in (field, "")}
    assert [problems[0].steps for problems in load.values()] == [("One.", "Two."), ()]
    with_steps = write(tmp_path, "b.jsonl", json.dumps({"question": "q", "answer": "1", "steps": ["s"], field: "One."}))
    assert len(load_problems("jsonl", path=with_steps)) == 1
    counted = write(tmp_path, "c.jsonl", json.dumps({"question": "q", "answer": "1", "num_steps": 3, "scotland": "a"}))
    assert len(load_problems("jsonl", path=counted)) == 1
