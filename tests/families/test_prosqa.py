"""ProsQA and ProntoQA: the answer of every question by another route, from its words alone."""

import hashlib
import re
from itertools import pairwise

import pytest
from conftest import shared_file

from latent_trainer.data import as_problems, load_problems
from latent_trainer.data.generated.prosqa import changed
from latent_trainer.data.problem import Problem
from latent_trainer.errors import InputError

FACT = re.compile(r"(?:Every )?(\w+) is a (\w+)\.")
RULE = re.compile(r"(?:(?:Every|Each) (\w+)|([A-Z]\w+)es) (?:is|are) (not )?(?:an? )?(\w+?)(?:(?<=pus)es)?\.")


# of the first 200 training problems, the same on every platform and Python
DIGESTS = {
    "prontoqa": "4238a2ff7dd3c537a811dc21bff644175bd018f26983d8ba2f807bf685382962",
    "prosqa": "9be02712aa4e62c3f2bd5fc62e32daa34023078f3187dd67777f02de8a0de870",
}


@pytest.fixture(scope="module")
def number(request):
    return request.config.getoption("--problems")


def closure(question: str) -> dict[str, set[str]]:
    """Return what each name is, step by step until nothing is added: no graph, no search."""
    facts = FACT.findall(question)
    known = {left: {left} for left, _ in facts} | {end: {end} for _, end in facts}
    while True:
        before = sum(map(len, known.values()))
        for left, end in facts:
            known[left] |= known[end]
        if sum(map(len, known.values())) == before:
            return known


def check(problem: Problem) -> None:
    """Require that exactly one option follows, that it is the answer, and that the steps lead there and are told."""
    root, one, other = re.search(r"Is (\w+) a (\w+) or (\w+)\?$", problem.question).groups()
    known = closure(problem.question)
    (right,) = {one, other} & known[root]
    assert problem.answer == f"{root} is a {right}."
    assert all(step in problem.question for step in problem.steps)
    links = [FACT.match(step).groups() for step in problem.steps]
    assert links[0][0] == root and links[-1][1] == right
    assert all(first[1] == second[0] for first, second in pairwise(links))


def test_prosqa_by_another_route(number):
    for problem in as_problems(load_problems("prosqa", size=number)):
        check(problem)
        known = closure(problem.question)
        _, one, other = re.search(r"Is (\w+) a (\w+) or (\w+)\?$", problem.question).groups()
        people = {name for name in known if name[0].isupper()}
        assert all(any(option in known[name] for name in people) for option in (one, other))  # the wrong one is somebody's
        assert not {name for name in known if name in known and known[name] & people - {name}}  # nothing is a person
        assert problem.difficulty == len(problem.steps) in (3, 4)


def test_the_published_file_by_the_same_route():
    path = str(shared_file("data/prosqa/valid.json"))
    problems = as_problems(load_problems("prosqa", "test", test_path=path))
    assert len(problems) == 257
    for problem in problems:
        check(problem)


def test_steps_are_a_shortest_chain():
    """No chain of fewer facts leads from the entity to the answer."""
    for problem in as_problems(load_problems("prosqa", size=40, min_steps=2, max_steps=6)):
        facts = set(FACT.findall(problem.question))
        reached = {problem.answer.split()[0]}
        for _ in range(len(problem.steps) - 1):
            reached |= {end for left, end in facts if left in reached}
        assert problem.answer.split()[-1].rstrip(".") not in reached


def test_another_edge_gives_the_answer_of_the_changed_text():
    """The oracle: every end of every sentence of some questions, against the words of the new question."""
    tried = kept = other_way = 0
    for problem in as_problems(load_problems("prosqa", "test", size=12)):
        sentences = problem.question.split(". ")
        ends = sorted({end for _, end in FACT.findall(problem.question)})
        for place in range(len(sentences) - 1):
            for end in ends[:: len(ends) // 4]:
                try:
                    other = changed(problem, place, end)
                except InputError as refusal:
                    assert re.search(r"is (both|neither) of|told twice, or lead back", str(refusal))
                    continue
                tried += 1
                check(other)
                told = other.question.split(". ")
                assert [at for at, one in enumerate(told) if one != sentences[at]] in ([place], [])
                assert told[place].endswith(f" {end}")
                kept += other.answer == problem.answer
                other_way += other.steps != problem.steps
    assert tried > 300 and kept > 0 and other_way > 0
    with pytest.raises(InputError, match="sentences, counted from 0"):
        changed(problem, 999, ends[0])
    with pytest.raises(InputError, match="is no concept of the question"):
        changed(problem, 0, "cat")
    with pytest.raises(InputError, match="is not a question of ProsQA"):
        changed(Problem("What is 1 + 1?", (), "2", "sum"), 0, "cat")


def test_an_answer_turns_with_its_edge():
    question = (
        "Tom is a lempus. Every lempus is a rorpus. Max is a wumpus. Every wumpus is a zumpus. Is Tom a rorpus or zumpus?"
    )
    problem = Problem(question, ("Tom is a lempus.", "Every lempus is a rorpus."), "Tom is a rorpus.", "p")
    turned = changed(problem, 0, "wumpus")
    assert (turned.answer, turned.steps) == ("Tom is a zumpus.", ("Tom is a wumpus.", "Every wumpus is a zumpus."))
    assert changed(problem, 2, "zumpus").answer == problem.answer
    with pytest.raises(InputError, match="Tom is neither of rorpus and zumpus"):
        changed(_with_both(problem), 1, "lorpus")
    with pytest.raises(InputError, match="Tom is both of rorpus and zumpus"):
        changed(_with_both(problem), 4, "zumpus")


def _with_both(problem: Problem) -> Problem:
    """Return a problem with one more fact, which may be turned to the wrong answer."""
    question = problem.question.replace(" Is Tom", " Every rorpus is a lorpus. Is Tom")
    return Problem(question, problem.steps, problem.answer, problem.id)


def conclusions(question: str, entity: str) -> set[tuple[str, bool]]:
    """Return what the sentences of ProntoQA say of somebody, by applying every rule until nothing is added."""
    rules = [
        ((every or many).lower(), what, not no)
        for every, many, no, what in RULE.findall(question.split(" True or false")[0])
    ]
    known = {(concept, True) for concept in re.findall(rf"{entity} is an? (\w+)\.", question.split(" True or false")[0])}
    while True:
        more = {(what, holds) for concept, what, holds in rules if (concept, True) in known} - known
        if not more:
            return known
        known |= more


def test_prontoqa_by_another_route(number):
    answers = []
    for problem in as_problems(load_problems("prontoqa", size=number)):
        entity, no, what = re.search(r"True or false: (\w+) is (not )?(\w+)\.$", problem.question).groups()
        known = conclusions(problem.question, entity)
        assert ((what, True) in known) != ((what, False) in known), problem
        assert problem.answer == str((what, not no) in known)
        facts = problem.question.split(" True or false")[0]
        *steps, last = problem.steps
        assert len(steps) == 5 == problem.difficulty
        for number, step in enumerate(steps):
            claim, rule = re.match(r"(\w+ is [^.]*\.) (.*)", step).groups()
            assert rule in facts and (number > 0 or claim in facts)
        assert last == f"{entity} is {'' if (what, True) in known else 'not '}{what}."
        answers.append(problem.answer)
    assert 0.35 < answers.count("True") / len(answers) < 0.65


@pytest.mark.parametrize("name", ["prosqa", "prontoqa"])
def test_splits_and_seeds(name):
    sizes = {"train": 300, "validation": 60, "test": 60}
    splits = {split: load_problems(name, split, size=size) for split, size in sizes.items()}
    shapes = {split: {shape(one) for one in rows["question"]} for split, rows in splits.items()}
    assert not shapes["train"] & (shapes["validation"] | shapes["test"]) and not shapes["validation"] & shapes["test"]
    again, other = (load_problems(name, "test", size=60, seed=seed).to_list() for seed in (0, 1))
    assert again == splits["test"].to_list() != other
    assert load_problems(name, "test", size=30).to_list() == again[:30]


@pytest.mark.parametrize("name", DIGESTS)
def test_same_bytes(name):
    rows = load_problems(name, size=200).remove_columns("place").to_list()
    assert hashlib.sha256(repr([list(row.values()) for row in rows]).encode()).hexdigest() == DIGESTS[name]


def shape(question: str) -> str:
    """Return a question's facts and query without regard to their order."""
    return " ".join(sorted(re.split(r"(?<=\.) ", question)))


@pytest.mark.parametrize(("nodes", "steps"), [(6, 2), (9, 3), (14, 3), (30, 4)])
def test_smaller_and_larger_graphs(number, nodes, steps):
    """By the same other route, and about as large as asked for; what nodes leaves as it is, is the published size."""
    problems = as_problems(load_problems("prosqa", size=min(number, 60), nodes=nodes, min_steps=steps, max_steps=steps))
    for problem in problems:
        check(problem)
    sizes = [len(closure(problem.question)) for problem in problems]
    assert abs(sum(sizes) / len(sizes) - nodes) < 0.35 * nodes
    assert max(sizes) <= 1.3 * nodes + 1
    splits = [load_problems("prosqa", split, size=60, nodes=6, min_steps=2, max_steps=2) for split in ("train", "test")]
    one, other = ({shape(row) for row in rows["question"]} for rows in splits)
    assert not one & other


def test_options():
    assert {row["difficulty"] for row in load_problems("prosqa", size=20, min_steps=2, max_steps=5)} == {2, 3, 4, 5}
    assert {row["difficulty"] for row in load_problems("prontoqa", size=9, min_hops=1, max_hops=3)} == {1, 2, 3}
    for name, options, message in (
        ("prosqa", {"min_steps": 5}, "min_steps=5 is above max_steps=4"),
        ("prontoqa", {"min_hops": 6}, "min_hops=6 is above max_hops=5"),
        ("prosqa", {"path": "a.json", "nodes": 9}, "are of generated problems; leave them out, or the files"),
        ("prosqa", {"nodes": 4}, "nodes=4 must lie between 5 and 40"),
        ("prosqa", {"nodes": 5, "min_steps": 6, "max_steps": 6}, "size=18000 is too many, about 0 exist"),
        ("prosqa", {"path": "a.json", "size": 3}, "are of generated problems; leave them out, or the files"),
        ("prontoqa", {"test_path": "a.json", "max_hops": 6}, "are of generated problems; leave them out, or the files"),
        ("prosqa", {"columns": {"question": "q"}}, "columns names columns of files"),
    ):
        with pytest.raises(InputError, match=message):
            load_problems(name, **options)
