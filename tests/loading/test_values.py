"""Values that cannot be an answer, a step or a difficulty, and encodings: one line with file, row and field."""

import bz2
import gzip
import json
import lzma

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset

from latent_trainer.data import as_problems, load_problems
from latent_trainer.errors import InputError

GOOD = '{"question": "q", "steps": ["s"], "answer": "1"}\n'


def load_text(folder, text: "str | bytes", name: str = "a.jsonl"):
    """Return the problems of a file of this content."""
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return as_problems(load_problems("jsonl", "test", test_path=str(path)))


def refusal(folder, text: "str | bytes", name: str = "a.jsonl") -> str:
    """Return the line that refuses a file, without its folder."""
    with pytest.raises(InputError) as caught:
        load_text(folder, text, name)
    line = str(caught.value)
    assert "\n" not in line
    assert line.startswith(f"{folder}/{name}")
    return line.removeprefix(f"{folder}/")


def row(**fields) -> str:
    """Return a line whose fields are written as given."""
    return "{" + ", ".join(f'"{name}": {value}' for name, value in {"question": '"q"', **fields}.items()) + "}"


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("NaN", "nan, not a finite"),
        ("Infinity", "inf, not a finite"),
        ("-Infinity", "-inf, not a finite"),
        ("1e999", "1e999, not a finite"),
        ('"nan"', "'nan', which is not a value"),
        ('"-Inf"', "'-Inf', which is not a value"),
        ("12345678901234567890.0", "12345678901234567890.0, more digits than"),
        ("9007199254740992.0", "more digits than"),
        ("0.12345678901234567890", "more digits than"),
        ("1e-400", "more digits than"),
        ("9" * 5000, "an integer of 5000 digits"),
        (f'"{"9" * 5000}"', "more than 4300 digits"),
        ("true", "true or false"),
        ("null", "missing or empty"),
        ('""', "missing or empty"),
        ('" \\n"', "missing or empty"),
        ('["1", "2"]', "a list"),
        ('{"value": 1}', "an object"),
        ('{"value": 1, "value": 2}', "'value' appears twice"),
        ('"a\\nb"', "goes over 2 lines"),
        ('"a\\u2028b"', "goes over 2 lines"),
        ('"1 \\u0000"', "U+0000 (NUL)"),
        ('"\\frac{1}{2}"', "U+000C (from an unescaped"),
        ('"\\boxed{2}"', "U+0008 (from an unescaped"),
        ('"\\udfff"', "lone surrogate \\udfff"),
        ('"<|latent|>"', "<|latent|>"),
    ],
)
def test_answer_that_is_none(tmp_path, written, says):
    line = refusal(tmp_path, GOOD + row(answer=written))
    assert line.startswith("a.jsonl:2: field 'answer' ") and says in line


@pytest.mark.parametrize(
    ("written", "answer"),
    [
        ("145.0", "145"),
        ("-0.0", "0"),
        ("1e3", "1000"),
        ("2.50", "2.5"),
        ("1e-7", "0.0000001"),
        ("9007199254740991.0", "9007199254740991"),
        ("12345678901234567890123", "12345678901234567890123"),
        ('"12345678901234567890.0"', "12345678901234567890.0"),
        ('" 7\\n"', "7"),
        ('"\\\\infty"', "\\infty"),
        ('"infinity"', "infinity"),
        ('"None"', "None"),
        ("0", "0"),
    ],
)
def test_answer(tmp_path, written, answer):
    assert load_text(tmp_path, row(answer=written))[0].answer == answer


@pytest.mark.parametrize("field", ["question", "answer"])
def test_texts_of_characters_without_width_are_empty(tmp_path, field):
    written = {"question": '"q"', "answer": '"1"', field: '"\\u200b\\ufeff "'}
    line = refusal(tmp_path, "{" + ", ".join(f'"{name}": {value}' for name, value in written.items()) + "}")
    assert line.startswith(f"a.jsonl:1: field '{field}' is missing or empty")


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ('["a", null]', "item 2 is null"),
        ('["a", 1]', "item 2 is int"),
        ('["", "a"]', "blank text as item 1"),
        ('["a", " "]', "blank text as item 2"),
        ('"a b"', "must be a list of texts, not a text"),
        ('{"1": "a"}', "must be a list of texts, not an object"),
        ('["a\\u0000"]', "item 1, holds the control character"),
    ],
)
def test_steps_that_are_none(tmp_path, written, says):
    line = refusal(tmp_path, row(answer="1", steps=written))
    assert line.startswith("a.jsonl:1: field 'steps'") and says in line


@pytest.mark.parametrize(
    ("field", "written", "says"),
    [
        ("difficulty", "true", "true or false"),
        ("difficulty", "2.5", "'2.5'"),
        ("difficulty", "-1", "'-1'"),
        ("difficulty", "NaN", "'nan'"),
        ("difficulty", '"hard"', "'hard'"),
        ("difficulty", "[1]", "a list"),
        ("difficulty", "9" * 5000, "an integer of 5000 digits"),
        ("difficulty", "99999999999999999999", "must be a whole number"),
        ("id", "[1]", "a list"),
        ("id", "true", "true or false"),
        ("family", '{"a": 1}', "an object"),
    ],
)
def test_other_fields(tmp_path, field, written, says):
    line = refusal(tmp_path, row(answer="1", **{field: written}))
    assert line.startswith(f"a.jsonl:1: field '{field}' ") and says in line


def test_difficulties_and_ids(tmp_path):
    rows = [{"difficulty": one, "id": name} for one, name in ((3, 0), (3.0, 1), ("3", "b"), ("Level 3", 2.0), (None, None))]
    text = "".join(json.dumps({"question": f"q{n}", "answer": "1", **one}) + "\n" for n, one in enumerate(rows))
    problems = load_text(tmp_path, text)
    assert [problem.difficulty for problem in problems] == [3, 3, 3, 3, 0]
    assert [problem.id for problem in problems] == ["0", "1", "b", "2", "a.jsonl:5"]  # 0 is an id
    assert problems[3].place == f"{tmp_path}/a.jsonl:4"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (GOOD + row(answer='"1",'), "a.jsonl:2: malformed JSON"),
        (
            GOOD + '{"question": "q", "answer": "1", "answer": "2"}',
            "a.jsonl:2: an object in which field 'answer' appears twice",
        ),
        (GOOD + "[" * 100_000, "a.jsonl:2: "),
        ("[" * 100_000, "a.jsonl: "),
        (GOOD.replace("\n", "\r") * 2, "a.jsonl:1: a carriage return"),
        (GOOD.encode() + '{"question": "café"}'.encode("latin-1"), "a.jsonl:2: not UTF-8: byte 0xe9 at position 18"),
        ("[" + GOOD.strip() + ',\n{"question": "caf\xe9"}]', None),
        (("[" + GOOD + ',\n{"question": "caf\xe9"}]').encode("latin-1"), "a.jsonl:3: not UTF-8: byte 0xe9"),
        (GOOD.encode("utf-16"), "a.jsonl: encoded as UTF-16"),
        (GOOD.encode("utf-32"), "a.jsonl: encoded as UTF-32"),
        (GOOD.encode("utf-16-le"), "a.jsonl: zero bytes"),
        (GOOD.encode("utf-16-be"), "a.jsonl: zero bytes"),
        (b'{"question": "\xed\xa0\x80", "answer": "1"}', "a.jsonl:1: not UTF-8: byte 0xed"),
        ('{"question": "a",\n "answer": "1"}', "a.jsonl:1: malformed JSON"),
    ],
    ids=range(14),
)
def test_files_that_cannot_be_read(tmp_path, content, says):
    assert refusal(tmp_path, content).startswith(says or "a.jsonl:2: entry 2: field 'answer' is missing")


def test_an_entry_of_a_list_is_named_with_its_line(tmp_path):
    """Also where entries go over several lines, or stand under names as ProntoQA has them; ids stay numbers of entries."""
    entries = ['{"question": "a", "answer": "1"}', '{"question": "b",\n "steps": [],\n "answer": "2"}', '{"question": "c"}']
    for begin, between, line in (("[", ",", 3), ("\n\n [\n", "\n,\n\n", 12), ("[\r\n", ",\r\n", 6)):
        content = begin + between.join(entries) + "]\n"
        assert refusal(tmp_path, content).startswith(f"a.jsonl:{line}: entry 3: field 'answer' is missing")
    problems = load_text(tmp_path, f"[\n{entries[0]},\n{entries[1]}]", "a.json")
    assert [(problem.id, problem.place) for problem in problems] == [
        ("a.json:1", f"{tmp_path}/a.json:2: entry 1"),
        ("a.json:2", f"{tmp_path}/a.json:3: entry 2"),
    ]
    example = '{"test_example": {"question": "Sam is an a.", "query": "q", "chain_of_thought": ["s"], "answer": %s}}'
    named = '{\n"example1": ' + example % '"True"' + ',\n"example2":\n' + example % "null" + "\n}"
    (tmp_path / "b.json").write_text(named)
    with pytest.raises(InputError, match=r"b.json:4: entry 2: field 'answer'"):
        load_problems("prontoqa", path=str(tmp_path / "b.json"))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('[{"question": "a", "answer": "1"},]', "malformed JSON (line 1, column "),
        (
            '[{"question": "a", "answer": "1"}\n{"question": "a"}]',
            "malformed JSON (line 2, column 1: Expecting ',' delimiter",
        ),
        ('[{"question": "a", "answer": "1"}] 1', "malformed JSON (line 1, column 36: Extra data)"),
        ('[{"question": "a", "answer": "1"}', "malformed JSON (line 1, column 34: Expecting ',' delimiter)"),
        ('{"a": {"question": "a"}, "a": {"question": "b"}}', "an object in which field 'a' appears twice"),
        ('{"a": {"question": "a"},}', "malformed JSON (line 1, column "),
        ("[]", "is empty"),
    ],
)
def test_a_list_that_is_none(tmp_path, content, says):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(InputError) as caught:
        load_problems("jsonl", path=str(tmp_path / "a.json"))
    assert says in str(caught.value) and str(tmp_path / "a.json") in str(caught.value)


def test_a_list_may_have_the_suffix_of_lines_and_the_reverse(tmp_path):
    assert len(load_text(tmp_path, GOOD * 2, "a.json")) == len(load_text(tmp_path, f"[{GOOD},{GOOD}]", "a.jsonl")) == 2


def test_lines_end_with_line_feeds_only(tmp_path):
    text = '\ufeff{"question": "a\u2028b\x85c\u2029d", "answer": "1"}\r\n\r\n{"question": "e", "answer": "2"}'
    assert [problem.question for problem in load_text(tmp_path, text)] == ["a\u2028b\x85c\u2029d", "e"]
    (tmp_path / "a.txt").write_bytes("a\u2028b\x85d||<<1+1=2>> #### 2\r\nc||<<1+1=2>> #### 2".encode())
    problems = as_problems(load_problems("gsm8k_aug", "test", test_path=str(tmp_path / "a.txt")))
    assert [problem.question for problem in problems] == ["a\u2028b\x85d", "c"]


@pytest.mark.parametrize(("suffix", "compress"), [(".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress)])
def test_compressed(tmp_path, suffix, compress):
    whole = compress(GOOD.encode() * 3)
    assert len(load_text(tmp_path, whole, f"a.jsonl{suffix}")) == 3
    assert len(load_text(tmp_path, compress(f"[{GOOD}]".encode()), f"a.json{suffix}")) == 1
    assert "is it damaged?" in refusal(tmp_path, whole[:-9], f"a.jsonl{suffix}")
    assert "is it damaged?" in refusal(tmp_path, GOOD, f"b.jsonl{suffix}")


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.xlsx", "x", "unknown kind of file '.xlsx'"),
        ("a.jsonl.zst", "x", "unknown kind of file '.jsonl.zst'"),
        ("a.parquet", "x", "not a Parquet file"),
        ("a.parquet.gz", "x", "unknown kind of file '.parquet.gz'"),
        ("train", "x", "unknown kind of file 'train'"),
        ("a.csv", "question,answer\na,1,2\n", "a.csv:2: 3 cells under 2 columns"),
        ("a.csv", "question,answer,answer\na,1,2\n", "column 'answer' appears twice"),
        ("a.csv", 'question,answer\n"a"b,1\n', "a.csv:2: malformed table"),
        ("a.csv", "question,answer\na,\n", "a.csv:2: field 'answer' is missing"),
        ("a.csv", "question,answer\na,NaN\n", "a.csv:2: field 'answer' is 'NaN'"),
        ("a.csv", "question;answer\na;1\n", "the row has question;answer"),
        ("a.csv", "question,answer\ncaf\xe9,1\n".encode("latin-1"), "a.csv:2: not UTF-8"),
        ("a.csv", "question,steps,answer\na,\"['b' 'c']\",1\n", "'steps' must be a list of texts"),
        ("a.json", '{"train": [], "test": []}', "expected a JSON list of rows, found dict with train, test"),
        ("a.json", '"text"', "a.json"),
    ],
)
def test_kinds_of_files(tmp_path, name, content, says):
    assert says in refusal(tmp_path, content, name)


def test_numbers_of_tables(tmp_path):
    """Half-precision numbers are what they were written as; missing ones are missing."""
    path = tmp_path / "a.parquet"
    narrow = pa.array(np.array([0.1, 3.0], np.float32))
    pq.write_table(pa.table({"question": ["a", "b"], "answer": narrow}), path)
    problems = as_problems(load_problems("jsonl", "test", test_path=str(path)))
    assert [problem.answer for problem in problems] == ["0.1", "3"]
    for value in (np.nan, None, np.inf):
        missing = pa.table({"question": ["a", "b"], "answer": pa.array([1.5, value], pa.float32())})
        pq.write_table(missing, path)
        with pytest.raises(InputError, match=r"a.parquet:2: field 'answer' is (nan|inf|missing)"):
            load_problems("jsonl", "test", test_path=str(path))
        with pytest.raises(InputError, match=r"^row 1:? (field 'answer' is (nan|inf)|has no answer)"):
            as_problems(Dataset(missing))


def test_empty_files(tmp_path):
    for name in ("a.jsonl", "a.txt", "a.csv", "a.json"):
        (tmp_path / name).write_text("[]" if name == "a.json" else "")
        with pytest.raises(InputError, match="is empty; give it at least one problem"):
            load_problems("jsonl", path=str(tmp_path / name))
