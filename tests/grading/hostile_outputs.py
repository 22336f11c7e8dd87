"""Answers made to break a grader, of a hundred kinds, and a program that prints what comparing a thousand of them takes."""

import json
import random
import resource
import time
from concurrent.futures import ThreadPoolExecutor

from hostile_kinds import KINDS

from latent_trainer.evaluation import answers, notation
from latent_trainer.evaluation.answers import extract_answer, is_equivalent
from latent_trainer.evaluation.grading import comparison
from latent_trainer.evaluation.grading.values import Budget

REFERENCES = [
    "5",
    "7/3",
    "yes",
    "(1, -2, 3/2)",
    "[0, 5/2]",
    r"\binom{n}{k}",
    r"n!/(n-k)!",
    r"\max(x, |y|)",
    r"\exp(x)",
    "x = 5",
    "2x + y = 3",
    "5 cm",
    "$18",
    r"\{1, \sqrt{2}\}",
    "x > 3",
    r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}",
    "a^2 + b^2 + c^2",
    r"\sqrt{x} + \sin y",
    "1.5 km",
    r"\sqrt{8}, \sqrt{12}, \sqrt{18}, \sqrt{20}, \sqrt{24}",
]


def hostile_answers(number: int) -> list[str]:
    """Return generated answers of every kind in turn."""
    chance = random.Random(0)
    return [KINDS[index % len(KINDS)](chance) for index in range(number)]


def hostile_outputs(number: int) -> list[str]:
    """Return hostile answers inside what a model may write around them."""
    chance = random.Random(1)
    forms = ["### {}", "thus\n### {}", r"\boxed{{{}}}", "{}", "so $x = {}$"]
    return [chance.choice(forms).format(text) for text in hostile_answers(number)]


def pairs(texts: list[str]) -> list[tuple[str, str]]:
    """Return every text as prediction and as reference: against an ordinary answer, another text, and nearly itself."""
    found = []
    for index, text in enumerate(texts):
        for other in (
            REFERENCES[index % len(REFERENCES)],
            texts[(7 * index + 1) % len(texts)],
            text[:-1],
            f"{text} {text[:3]}",
        ):
            found += [(text, other), (other, text)]
    return found


def work(prediction: str, reference: str) -> int:
    """Return the units of work that a pair takes of `comparison.UNITS_OF_WORK`, and one more where they do not suffice."""
    cleaned = notation.clean(prediction), notation.clean(reference)
    budget = Budget(comparison.UNITS_OF_WORK)
    if all(cleaned):
        comparison.same(*cleaned, budget)
    return comparison.UNITS_OF_WORK - max(budget.units, -1)


def grade(texts: list[str]) -> None:
    """Look for an answer in each text both ways, and compare it with a reference of every kind in turn."""
    for index, text in enumerate(texts):
        for mode in ("strict", "flexible"):
            answer = extract_answer(text, mode)
            assert answer is None or isinstance(answer, str)
            assert is_equivalent(answer, REFERENCES[index % len(REFERENCES)]) in (True, False)


def main() -> None:
    """Compare in the main thread and in four; print a JSON line with seconds of processor time and bytes."""
    is_equivalent("5 km", "5 kilometers")  # reads pint's table, once a process
    texts = hostile_answers(1000)
    seconds = []
    for prediction, reference in pairs(texts):
        answers._verdict.cache_clear()
        began = time.process_time()
        is_equivalent(prediction, reference)
        seconds.append(time.process_time() - began)
    print(json.dumps({"comparisons": len(seconds), "seconds": sum(seconds), "worst": max(seconds)}))
    outputs = hostile_outputs(1000)
    began = time.process_time()
    grade_in_threads(outputs, 4)
    took = time.process_time() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"threads": 4, "outputs": len(outputs), "seconds": took, "bytes": peak}))


def grade_in_threads(texts: list[str], threads: int) -> None:
    """Share texts between threads; raise what any of them raised."""
    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(grade, texts[first::threads]) for first in range(threads)]:
            done.result()


if __name__ == "__main__":
    main()
