"""Problems with many right answers: the check that one carries, from the file to the record, and what it withstands."""

import json
import time
from dataclasses import replace

import pytest

from latent_trainer.data import as_problems, load_problems
from latent_trainer.data.checks import CHECKS, check_of
from latent_trainer.data.checks.expression import NoExpressionError, evaluate
from latent_trainer.data.export import export
from latent_trainer.data.problem import Problem
from latent_trainer.data.template import TEMPLATES
from latent_trainer.data.tokenizer import train_tokenizer
from latent_trainer.errors import InputError
from latent_trainer.evaluation.answer_accuracy.answer_accuracy import AnswerAccuracy
from latent_trainer.evaluation.answers import is_right
from latent_trainer.evaluation.generation import Answer, graded
from latent_trainer.evaluation.record import data_hash
from latent_trainer.evaluation.summary import summarise

PUZZLE = Problem("Make 24 of 4, 6 and 1.", ("4*6=24",), "4 * 6", "p", check="countdown 24 from 4 6 1")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1 + 2 * 3", "7"),
        ("(1 + 2) * 3", "9"),
        ("8 / (3 - 8 / 3)", "24"),
        ("-2 - -3", "1"),
        ("2 \u00d7 3 \u00f7 4 \u2212 0.5", "1"),
        (r"$\frac{1}{2} + 3 \times \left(2 - 1\right)$.", "7/2"),
        ("[1 + 2] * .5", "3/2"),
        ("2(3 + 4)", "14"),
        ("(1 + 2)(3 + 4)2", "42"),
        ("(1 + 2) 3", "9"),
        ("-(1 + 2)(3)", "-9"),
        ("2 x 3", "6"),
        ("(1 + 1) X (3)", "6"),
        ("2\u00a0\u2217\u20093", "6"),
        ("\uff081\uff0b2\uff09\uff0a3", "9"),
        ("3\u22152 \u2013 1\u20442", "1"),
        (r"\(4 \cdot 6\)", "24"),
        ("6 / 2(1 + 2)", None),
        ("6 / (2)(3)", None),
        ("0x10", None),
        ("2x", None),
        ("2 (3", None),
        ("2 3(1)", None),
        ("3!", None),
        ("50%", None),
        ("1e2 + 1", None),
        ("2\u00b2", None),
        ("\u221a4", None),
        ("1,5", None),
        ("1 2", None),
        ("1 +", None),
        ("(1", None),
        ("1)", None),
        ("1 / 0", None),
        ("1 / (2 - 2)", None),
        ("2 ** 3", None),
        ("2 ^ 3", None),
        ("x", None),
        ("", None),
        ("()", None),
        ("\u0661 + 1", None),
        ("1e9", None),
    ],
)
def test_expression(text, value):
    if value is None:
        with pytest.raises(NoExpressionError):
            evaluate(text)
    else:
        assert str(evaluate(text)[0]) == value


@pytest.mark.parametrize(
    ("answer", "countdown", "game24"),
    [
        ("4 * 6 * 1", True, True),
        ("4 * 6", True, False),
        ("4 \u00d7 6 \u00f7 1", True, True),
        ("4(6)", True, False),
        ("(4)(6)(1)", True, True),
        ("4 * 6 = 24", True, False),
        ("24 = 4 * 6 * 1", True, True),
        ("24 = 24", False, False),
        ("4 * 6 = 25", False, False),
        ("25 = 4 * 6", False, False),
        ("4 * 6 = 6 * 4", True, False),
        ("4 * 6 = 24 = 24", False, False),
        ("4 * 6 * 1 * 1", False, False),
        ("4 * 6 + 0", False, False),
        ("4 * 6 / (1 - 1)", False, False),
        ("4 * 6 ** 1", False, False),
        ("46 - 22", False, False),
        ("6 * 4 - (1 - 1)", False, False),
        ("6 \u2212 (\u22124) * 1 + 14", False, False),
    ],
)
def test_any_right_expression_and_no_wrong_one(answer, countdown, game24):
    assert check_of("countdown 24 from 4 6 1")(answer) is countdown
    assert check_of("game24 24 from 4 6 1")(answer) is game24


HOSTILE = [
    "9**9**9**9",
    "__import__('os').system('echo')",
    "(" * 5_000 + "1" + ")" * 5_000,
    "-" * 350 + "1",
    "1" * 399,
    "9" * 20 + "*9" * 180,
    "1" + "/7" * 199,
    "(1+" * 90 + "1" + ")" * 90,
    "\\frac{" * 60,
    "=" * 300,
    "4 * 6 = = 24",
    "4 * 6\0",
    "4 * 6 " * 10_000,
    "{} {0} %s \ud800",
    "lambda: 24",
    "24",
]


@pytest.mark.parametrize("number", range(len(HOSTILE)))
@pytest.mark.parametrize("check", ["countdown 24 from 4 6 1", "game24 24 from 4 6 1", "within 0.001 of 23.5"])
def test_hostile_answers_are_wrong_at_once(number, check):
    is_wrong = check_of(check)
    began = time.process_time()  # other work on the machine does not count
    assert not is_wrong(HOSTILE[number])
    assert time.process_time() - began < 0.2


@pytest.mark.parametrize(
    ("check", "message"),
    [
        ("countdwn 24 from 4 6", "did you mean 'countdown'"),
        ("countdown 24", "expected 'countdown TARGET from NUMBERS'"),
        ("game24 24 from 4 x", "expected 'game24 TARGET from NUMBERS'"),
        ("choice D of A B", "expected 'choice LETTER of LETTERS'"),
        ("within 5", "expected 'within TOLERANCE of NUMBER'"),
        ("countdown 24 from 4 5", "does not pass its own check"),
    ],
)
def test_a_check_that_is_none(tmp_path, check, message):
    """Refused where the row is read, with its place."""
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"question": "q", "answer": "4 * 6", "check": check}) + "\n")
    with pytest.raises(InputError, match=message) as refusal:
        load_problems("jsonl", path=str(path))
    assert str(refusal.value).startswith(f"{path}:1: ") and "\n" not in str(refusal.value)


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_a_check_travels_with_its_problem(tmp_path, suffix):
    problems = as_problems(load_problems("countdown", size=5))
    assert all(problem.check for problem in problems)
    export(problems, str(tmp_path / f"a{suffix}"))
    again = as_problems(load_problems("jsonl", "test", test_path=str(tmp_path / f"a{suffix}")))
    assert again == problems and as_problems(again) == problems
    assert data_hash(problems) == data_hash(again) != data_hash([replace(one, check="") for one in problems])
    with pytest.raises(InputError, match="no field for a check"):
        export(problems, str(tmp_path / "a.json"))
    export([replace(one, check="") for one in problems], str(tmp_path / "a.json"))
    assert "check" not in load_problems("stories", size=3).column_names


def test_every_check_by_its_name():
    assert set(CHECKS) == {"choice", "countdown", "game24", "within"}
    assert is_right("6 * 4", PUZZLE.answer, PUZZLE.check) and not is_right("24", PUZZLE.answer, PUZZLE.check)
    assert not is_right(None, PUZZLE.answer, PUZZLE.check)
    assert is_right("24", "24") and not is_right("6 * 5", "24")


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        *[(text, True) for text in ("B", "b", "B)", "(B)", "B.", "B) 3:4", "(B) 12", "b. 12", "B: A is older", r"\text{B}")],
        *[
            (text, True)
            for text in ("**B) 3:4**", "$B$", r"\boxed{B}", "option B", "The correct answer is (B) 12", "answer: B")
        ],
        *[
            (text, False)
            for text in ("A", "A) B", "12", "", "Bob", "B 12", "B) 12 or C", "B) 12, C) 13", "B/C", "F", "not B")
        ],
        *[(text, False) for text in ("A number of B", "B)" + "1" * 999, "(" * 999, "The answer is A", "both")],
    ],
)
def test_options_of_aqua(tmp_path, answer, right):
    path = tmp_path / "aqua.jsonl"
    path.write_text(json.dumps({"question": "q", "options": ["A)12", "B) 3:4", "C)5"], "rationale": "r", "correct": "B"}))
    (problem,) = as_problems(load_problems("aqua", "test", test_path=str(path)))
    assert problem.answer == "B" and is_right(answer, problem.answer, problem.check) is right


@pytest.mark.parametrize(
    ("target", "right", "wrong"),
    [
        (2435123.0, ("2435123", "2,435,123", "2435123.0", "$2,435,123"), ("2435124", "243512.3")),
        (-9867630.0, ("-9867630", "-9,867,630.00", "$-9867630$"), ("9867630", "-986763")),
        (
            13333.333333333334,
            ("13333.333", "13,333.3333", "40000/3", "$13333.3334", r"\frac{40000}{3}"),
            ("13333.3", "13333"),
        ),
        (-0.5, ("-0.5", "-1/2"), ("0.5", "-0.6")),
        (
            13333.333333333334,
            ("**13,333.3333**", r"\boxed{13333.3333}", "13333.3333 dollars", "\u20ac13333.3333", "13333.3333%"),
            ("**13333.3**", "13333 dollars", "13333.3333 13333.3333"),
        ),
        (13333.333333333334, ("13333." + "3" * 25, "the answer is 13333.3333."), ("13333." + "4" * 25,)),
        (1.2345678901234566e17, ("123456789012345660", "123,456,789,012,345,668"), ("123456789012300000",)),
        (1e20, ("100000000000000000000", "100,000,000,000,000,000,000"), ("1000000000000000000", "100000000000001000000")),
    ],
)
def test_targets_of_gsm_hard(tmp_path, target, right, wrong):
    path = tmp_path / "gsmhardv2.jsonl"
    path.write_text(json.dumps({"input": "q", "code": "c", "target": target}) + "\n")
    (problem,) = as_problems(load_problems("gsm_hard", "test", test_path=str(path)))
    assert all(is_right(text, problem.answer, problem.check) for text in (*right, problem.answer))
    assert not any(is_right(text, problem.answer, problem.check) for text in (*wrong, "", "many"))


@pytest.mark.parametrize("answer", ["7", "025", "000", "999"])
def test_answers_of_aime(tmp_path, answer):
    path = tmp_path / "aime.jsonl"
    path.write_text(json.dumps({"problem": "p", "answer": answer}) + "\n")
    (problem,) = as_problems(load_problems("aime", "test", test_path=str(path)))
    for text in (answer, str(int(answer)), f"{int(answer):03}", f"${int(answer)}$", f"{int(answer)}.0"):
        assert is_right(text, problem.answer, problem.check), text
    assert not is_right(str(int(answer) + 1), problem.answer)


@pytest.mark.parametrize(
    ("name", "row", "message"),
    [
        ("aime", {"problem": "p", "answer": "1000"}, "whole numbers from 0 to 999"),
        ("aime", {"problem": "p", "answer": "-1"}, "whole numbers from 0 to 999"),
        ("aime", {"Problem": "p", "Answer": None}, "'Answer' is missing"),
        ("gsm_hard", {"input": "q", "target": "many"}, "'many', which is no number"),
        ("gsm_hard", {"input": "q", "code": "c"}, "'target' is missing"),
        ("multiarith", {"sQuestion": "q", "lSolutions": [1.0, 2.0]}, "a list of one number"),
        ("multiarith", {"question": "q"}, "field 'final_ans' is missing"),
        ("prontoqa", {"test_example": "q"}, "'test_example' must be an object"),
        ("math500", {"problem": "p", "solution": "s"}, "no .*boxed"),
    ],
)
def test_rows_that_are_wrong(tmp_path, name, row, message):
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(row) + "\n")
    with pytest.raises(InputError, match=message) as refusal:
        load_problems(name, "test", test_path=str(path))
    assert str(refusal.value).startswith(f"{path}:1: ") and "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    "reference", [r"\frac{\pi}{2}", r"\left( 3, \frac{\pi}{2} \right)", r"p - q", r"\text{Evelyn}", "1,2"]
)
def test_latex_of_math500(tmp_path, reference):
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"problem": "p", "solution": "s", "answer": reference}) + "\n")
    (problem,) = as_problems(load_problems("math500", "test", test_path=str(path)))
    assert is_right(f"${reference}$", problem.answer) and not is_right("7", problem.answer)


@pytest.mark.parametrize("template", ["coconut", "plain", "r1"])
def test_what_a_model_writes_is_graded_by_the_check(template):
    """Another right expression than the reference's, in every template; and one that uses a number twice."""
    form = TEMPLATES[template]
    texts = [form.written(replace(PUZZLE, answer=answer), steps=False) for answer in ("(6 - 1 + 1) * 4", "1 * 6 * 4")]
    tokenizer = train_tokenizer(texts * 3, vocab_size=300)
    for text, right in zip(texts, (False, True), strict=True):
        answer = graded(PUZZLE, tokenizer(text).input_ids, tokenizer, form)
        assert (answer["correct"], answer["correct_flexible"], answer["check"]) == (right, right, PUZZLE.check)


def test_the_metric_asks_the_check():
    metric = AnswerAccuracy()
    given = {"predictions": ["6 * 4", "24", "7"], "references": ["4 * 6", "4 * 6", "7"]}
    assert metric.compute(**given, checks=[PUZZLE.check, PUZZLE.check, ""])["accuracy"] == pytest.approx(2 / 3)
    assert metric.compute(**given)["accuracy"] == 1.0
    with pytest.raises(InputError, match="2 checks for 3 references"):
        metric.compute(**given, checks=["", ""])


def test_votes_are_expressions_not_values():
    """Twice the same wrong expression outvotes a right one of its value."""
    written = ["6 * 4 * 1 * 1", "6*4 * 1*1", "6 * 4"]
    answers = [
        Answer("p", n, "4 * 6", one, one, one, is_right(one, "4 * 6", PUZZLE.check), False, 1, 0, 1, 0.0, 0.0, PUZZLE.check)
        for n, one in enumerate(written)
    ]
    summary = summarise(answers)
    assert summary["majority"] == 0.0 and summary["accuracy"] == pytest.approx(1 / 3)
