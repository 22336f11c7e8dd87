"""Answers are found in texts: in the form of every template, in prose, and within bounded time whatever a model writes."""

import dataclasses
import itertools
import json
import re
import time
from pathlib import Path

import pytest
from conftest import shared_file
from training import make_trainer

from latent_trainer.data import DATASETS, TEMPLATES, Encoder, Template, as_problems, load_problems, resolve_template
from latent_trainer.data.generated import combinatorics, convex
from latent_trainer.data.problem import Problem
from latent_trainer.data.thought_tokens import add_thought_tokens
from latent_trainer.data.tokenizer import train_tokenizer
from latent_trainer.errors import InputError
from latent_trainer.evaluation.answers import is_equivalent
from latent_trainer.evaluation.extraction import extract_answer
from latent_trainer.evaluation.generation import generate_answers, graded
from latent_trainer.methods.curriculum import EVERYTHING, Plan

TEXTS = [json.loads(line) for line in Path(__file__).with_name("texts.jsonl").read_text(encoding="utf-8").splitlines()]
OWN = {
    "boxed": {"answer": "\\boxed{{{answer}}}"},
    "boxed, given": {"answer": "\\boxed{{{answer}}}", "score_answer_prefix": False},
    "sentence": {"answer_prefix": "The answer is ", "answer": "{answer}."},
    "sentence, given": {"answer_prefix": "The answer is ", "answer": "{answer}.", "score_answer_prefix": False},
    "bold": {"answer": "**{answer}**"},
    "tags": {"answer_prefix": "<answer>\n", "answer": "{answer}\n</answer>"},
    "brackets": {"answer_prefix": "Result (", "answer": "{answer})"},
    "hashes": {"answer_prefix": "#### "},
    "one line": {"step": "{step} ", "answer_prefix": "#### "},
}
CHANGES = [
    {"markers": markers, "remaining_steps": remaining, **scored}
    for markers, remaining, scored in itertools.product(
        (True, False), ("after", "inside"), ({}, {"score_answer_prefix": False}, {"score_answer_prefix": True})
    )
]
EVERY_TEMPLATE = [resolve_template(name, **changes) for name in [*TEMPLATES, *OWN.values()] for changes in CHANGES]
GIVEN = {  # a small file for every loader that reads one
    "aime": ("jsonl", '{"problem": "q", "answer": "025", "id": 3}\n'),
    "aqua": ("jsonl", '{"question": "q", "options": ["A)1", "B)2"], "rationale": "r", "correct": "B"}\n'),
    "gsm8k": (
        "jsonl",
        '{"question": "q", "answer": "2*600=<<2*600=1200>>1,200.\\nSo 1200-1=$<<1200-1=1199>>1199\\n#### 1,199"}\n',
    ),
    "gsm8k_aug": ("txt", "q||<<2*600=1200>> <<1200-1=1199>> #### 1,199\n"),
    "gsm8k_aug_nl": ("txt", "q one||He has 2 * 600 = 1,200. One is lost, so 1,199 are left. #### 1,199\n"),
    "gsm_hard": (
        "jsonl",
        '{"input": "q", "code": "", "target": -9867630.0}\n{"input": "r", "target": 13333.333333333334}\n',
    ),
    "jsonl": ("jsonl", '{"question": "q", "steps": ["x = 3", "= 5 ### not yet"], "answer": "(1, -\\\\frac{1}{2})"}\n'),
    "math": (
        "jsonl",
        '{"problem": "q", "level": "Level 1", "type": "Algebra", "solution": "So $\\\\boxed{\\\\frac{1}{2}}$."}\n',
    ),
    "math500": ("jsonl", '{"problem": "q", "solution": "s", "answer": "(3,\\\\frac{\\\\pi}{2})", "unique_id": "a"}\n'),
    "multiarith": ("jsonl", '{"question": "q", "final_ans": "18"}\n'),
    "svamp": ("json", '[{"ID": "1", "Body": "b.", "Question": "q?", "Equation": "( 8.0 - 5.0 )", "Answer": 3.0}]'),
    "textbook": ("json", '[{"exercise": "1.1", "text": "q", "type": "answer-based", "answer": "[0, \\\\sqrt{5})"}]'),
}
GENERATED = {"arithmetic", "combinatorics", "convex", "countdown", "game24", "prontoqa", "prosqa", "stories"}


def some(things: list, number: int, share: int) -> list:
    """Return every ``share``-th of things, others for another number, so that all come up in a share of the time."""
    return things[number % share :: share]


def is_right(text: str, mode: str, template: Template, answer: str) -> bool:
    return is_equivalent(extract_answer(text, mode, template=template), answer)


@pytest.mark.parametrize("mode", ["strict", "flexible"])
def test_texts_judged_by_hand(mode):
    rows = [row for row in TEXTS if row["mode"] == mode]
    assert len(rows) >= 30
    found = [(row, extract_answer(row["text"], mode, template=row.get("template"))) for row in rows]
    wrong = [(row, answer) for row, answer in found if answer != row["right"] and not is_equivalent(answer, row["right"])]
    assert not wrong


@pytest.fixture(scope="module")
def every_problem(tmp_path_factory) -> list[Problem]:
    """Return problems of every loader, of every family of those that have any."""
    folder = tmp_path_factory.mktemp("files")
    problems = as_problems(load_problems("arithmetic", size=20))
    for name in ("countdown", "game24", "prontoqa", "prosqa"):
        problems += as_problems(load_problems(name, size=23))
    for split in ("train", "test_templates"):
        problems += as_problems(load_problems("stories", split, size=64))
    for name, module in (("combinatorics", combinatorics), ("convex", convex)):
        for split in ("train", "test_families", "test_harder"):
            size = 3 * len(module.FAMILIES) if split == "train" else 60
            problems += as_problems(load_problems(name, split, size=size))
    assert {*GIVEN, *GENERATED, "auto"} == {*DATASETS}
    for name, (suffix, text) in GIVEN.items():
        file = folder / f"{name}.{suffix}"
        file.write_text(text, encoding="utf-8")
        options = {"steps": "text"} if name == "gsm8k" else {}
        problems += as_problems(load_problems(name, "train", path=str(file), **options))
    assert {problem.family for problem in problems} >= {*combinatorics.FAMILIES, *convex.FAMILIES}
    return problems


def test_a_reference_written_exactly_is_right(every_problem):
    """In every template, with all steps, the last ones or none."""
    wrong = []
    for number, problem in enumerate(every_problem):
        for template in some(EVERY_TEMPLATE, number, 23):
            texts = [template.written(problem, steps=False)]
            texts += [template.written(problem, steps=True)] if template.score_answer_prefix else []
            refused = template.fault(problem) is not None
            wrong += [(problem, template)] * (refused and not problem.place)  # what is generated is never refused
            wrong += [
                (text, template)
                for text, mode in itertools.product(texts[: 1 if refused else 2], ("strict", "flexible"))
                if not is_right(text, mode, template, problem.answer)
            ]
    assert not wrong


@pytest.fixture(scope="module")
def byte_tokenizer():
    tokenizer = train_tokenizer(["So 3 + 4 = 7.\n### 7", r"The answer is \boxed{\frac{1}{2}}."] * 3, vocab_size=300)
    for pair in (("<|bot|>", "<|eot|>"), ("<think>", "</think>")):
        add_thought_tokens(tokenizer, *pair)
    return tokenizer


def test_labelled_tokens_are_graded_right(every_problem, byte_tokenizer):
    """What training asks for, written token by token, is right, strictly and flexibly: every loader, family and template."""
    last = {(problem.family, problem.question == "q"): problem for problem in every_problem}
    for number, template in enumerate(EVERY_TEMPLATE):
        encoder = Encoder(byte_tokenizer, template)
        for problem in some(list(last.values()), number, 25):
            row = encoder.problem(problem)
            for skip in (0, 1, EVERYTHING) if template.score_answer_prefix else (EVERYTHING,):
                view = encoder.latent_view(row, Plan(2, skip))
                written = [token for token, label in zip(view.input_ids, view.labels, strict=True) if label != -100]
                grades = graded(problem, written, byte_tokenizer, template)
                assert grades["correct"] and grades["correct_flexible"], (grades, template)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("1\n2", "line break"),
        ("1\u20282", "line break"),
        ("nan", "no number"),
        ("-inf", "no number"),
        ("$$", "nothing but markup"),
        ("\\boxed{}", "nothing but markup"),
        ("7 ### 8", "is read as '7'"),
        ("The answer is 7", "is read as '7'; give|is read as '7'"),
        ("7</s>", "is read as '7'"),
    ],
)
def test_an_ungradable_reference_is_refused(byte_tokenizer, answer, why):
    problem = Problem("q", (), answer, place="mine.jsonl:3")
    with pytest.raises(InputError, match=rf"^mine\.jsonl:3: the answer .*(?:{why})") as refusal:
        Encoder(byte_tokenizer, "coconut").problems([problem])
    assert "\n" not in str(refusal.value)
    with pytest.raises(InputError, match=r"^mine\.jsonl:3: "):
        generate_answers(None, byte_tokenizer, [problem], 0, "coconut")


def test_steps_that_hold_the_prefix(byte_tokenizer):
    """They are refused where a model would learn to write them; where they are written all the same, they are no answer."""
    problem = Problem("q", ("### We add first", "3 + 4 = 7"), "7", place="mine.jsonl:3")
    encoder = Encoder(byte_tokenizer, "coconut")
    with pytest.raises(InputError, match=r"^mine\.jsonl:3: a step holds the answer prefix '### '.*another answer_prefix$"):
        encoder.problems([problem], steps=True)
    for steps, skip in itertools.product((problem.steps, problem.steps[::-1]), (0, 1)):
        own = dataclasses.replace(problem, steps=steps)
        written = encoder.latent_view(encoder.problem(own), Plan(0, skip)).input_ids[2:]
        assert graded(own, written, byte_tokenizer, encoder.template)["strict"] == "7"
    with pytest.raises(InputError, match="no answer prefix"):
        Template(answer_prefix="").check(problem)


def test_a_trainer_refuses_steps_that_hold_the_prefix_where_they_are_written(tmp_path):
    problems = [
        Problem("1 2", ("+ = 1\n+ 2", "+ 3"), "3", place="mine.jsonl:3")
    ]  # the template plain has "= " as its prefix
    with pytest.raises(InputError, match=r"^mine\.jsonl:3: a step holds the answer prefix '= '"):
        make_trainer(tmp_path, train_dataset=problems)
    assert (
        len(make_trainer(tmp_path, train_dataset=problems, method="no_cot", latents_per_step=None, max_stage=None).rows) == 1
    )


def test_a_template_in_words_of_its_own():
    """Half-open intervals, nested braces and full stops survive what stands around them."""
    for (name, fields), answer in itertools.product(
        OWN.items(), ["-5", "3.5", "[0, 5)", r"\frac{1}{2}", r"\{1, 2\}", "Alex is a jompus", "a = 3", r"\left\{1\right."]
    ):
        template = resolve_template(fields)
        text = template.written(Problem("q", (), answer), steps=False)
        assert template.form.find(text + "\n\nQuestion: next\n" + template.written(Problem("q", (), "9"), True)) == answer, (
            name
        )


def test_an_answer_stands_behind_the_thought():
    """What looks like one within a thought is none, unless nothing follows the thought."""
    for end in ("</think>", "<|eot|>"):
        assert extract_answer(f"### 3\n{end}\n### 4", template="coconut") == "4"
        assert extract_answer(f"### 3\n{end}\n", template="coconut") == "3"


def test_prefix_and_suffix_without_a_template():
    assert extract_answer(r"so \boxed{\frac{1}{2}}", "strict", r"\boxed{", "}") == r"\frac{1}{2}"
    assert extract_answer("Answer: 5.\nmore", "strict", "Answer: ", ".") == "5"


def test_templates_that_cannot_be_written():
    for fields, why in (
        ({"answer": "{answer} or {answer}"}, "once"),
        ({"answer_prefix": "\\boxed{"}, "brace"),
        ({"step": "{step} {x}"}, "brace"),
    ):
        with pytest.raises(InputError, match=why):
            Template(**fields)


@pytest.mark.parametrize("name", ["train", "test"])
def test_worked_solutions_of_gsm8k(name):
    """Their prose alone, without the annotations and the line of the answer."""
    lines = shared_file(f"data/gsm8k/{name}.jsonl").read_text(encoding="utf-8").splitlines()[:600]
    right = 0
    for row in map(json.loads, lines):
        solution, _, answer = row["answer"].rpartition("####")
        right += is_equivalent(extract_answer(re.sub("<<[^<>]*>>", "", solution).strip(), "flexible"), answer.strip())
    assert right >= 0.98 * len(lines)


ATOMS = [
    "$",
    r"\[",
    r"\boxed{",
    "{",
    "(",
    "**",
    "answer is ",
    "= ",
    "1",
    "1,",
    "1 ",
    r"\frac{",
    r"\begin{a}",
    "no, ",
    "because ",
]
ATOMS += ["### ", "\n"]


@pytest.mark.parametrize("mode", ["strict", "flexible"])
def test_time_is_bounded(mode):
    """Repetitions are what makes patterns slow; a text of 100,000 characters takes a small part of a second."""
    pairs = ["".join(pair) for pair in itertools.permutations(ATOMS, 2)][::9]
    for number, atom in enumerate([*ATOMS, " ", "<|", "#### 1 ", *pairs]):
        template = list(TEMPLATES)[number % len(TEMPLATES)]
        text = atom * (100_000 // len(atom)) + "x"
        began = time.process_time()
        extract_answer(text, mode, template=template)
        assert time.process_time() - began < 0.5, (atom, template)
