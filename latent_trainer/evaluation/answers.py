"""Comparing an answer with the reference."""

import logging
from functools import lru_cache

from latent_trainer.evaluation import formulas, notation, workers
from latent_trainer.evaluation.extraction import extract_answer

__all__ = ["extract_answer", "is_equivalent"]

MAX_UNORDERED = 4  # formulas of a set whose partner is searched for by comparing each with each

logger = logging.getLogger(__name__)


def is_equivalent(prediction: str | None, reference: str) -> bool:
    r"""Return whether two answers are the same; a missing answer equals nothing, and nothing a model writes raises.

    The same text and the same exact number are recognised at once. Other formulas go to a process of their own, where
    math-verify reads them and which is killed when it takes too long; an answer beyond the limits of
    `notation` and `formulas` equals its own copy only. What counts as the same:

    - numbers by their exact value: "1,000" and "1000.0", "1/2" and "0.5"; "0.333" is not 1/3, nothing is rounded;
    - a unit counts where both answers give one: "5 cm" equals "5" and "5 cm", not "5 m"; "\%" and "$" are units, so "12\%"
      equals "12" and not "0.12"; a name, too: "x = 5" equals "5", not "y = 5";
    - "(1, 2)" is ordered, "\{1, 2\}" is not; a list without brackets equals either; intervals keep their brackets;
    - formulas by their values; i to n are integers, log is the natural logarithm, capitals equal small letters.

    Args:
        prediction: an extracted answer, None where there was none.
        reference: the right answer.
    """
    if prediction is None or reference is None or not prediction.strip():
        return False
    if prediction.strip() == reference.strip():
        return True
    predicted, expected = notation.clean(prediction), notation.clean(reference)
    return bool(predicted and expected) and _same(predicted, expected)


def _same(predicted: str, expected: str) -> bool:
    if _same_at_once(predicted, expected):
        return True
    (name, predicted), (other_name, expected) = notation.named(predicted), notation.named(expected)
    (predicted, unit), (expected, other_unit) = notation.measured(predicted), notation.measured(expected)
    if (name and other_name and name != other_name) or (unit and other_unit and unit != other_unit):
        return False
    if _same_at_once(predicted, expected):
        return True
    if notation.number(predicted) is not None and notation.number(expected) is not None:
        return False
    if max(notation.depth(predicted), notation.depth(expected)) > notation.MAX_DEPTH:
        return False
    members, other_members = notation.parts(predicted), notation.parts(expected)
    if members or other_members:
        return _same_collection(members or ("", [predicted]), other_members or ("", [expected]))
    latex, other_latex = formulas.formula(predicted), formulas.formula(expected)
    return bool(latex and other_latex) and _same_formula(other_latex, latex)


def _same_at_once(predicted: str, expected: str) -> bool:
    """Return whether two cleaned answers are the same text or the same exact number."""
    if notation.compact(predicted) == notation.compact(expected):
        return True
    value = notation.number(predicted)
    return value is not None and value == notation.number(expected)


def _same_collection(predicted: tuple[str, list[str]], expected: tuple[str, list[str]]) -> bool:
    (kind, members), (other_kind, other_members) = predicted, expected
    if kind != other_kind and "" not in (kind, other_kind):
        return False
    if {kind, other_kind} <= {"", "{}", "cup"}:
        return _same_set(members, other_members)
    return len(members) == len(other_members) and all(map(_same, members, other_members))


def _same_set(predicted: list[str], expected: list[str]) -> bool:
    """Return whether every member has its equal on the other side."""
    rest = [one for one in predicted if not any(_same_at_once(one, other) for other in expected)]
    other_rest = [other for other in expected if not any(_same_at_once(one, other) for one in predicted)]
    if max(len(rest), len(other_rest)) > MAX_UNORDERED:
        return False
    return all(any(_same(one, other) for other in expected) for one in rest) and all(
        any(_same(one, other) for one in predicted) for other in other_rest
    )


def _same_formula(expected: str, predicted: str) -> bool:
    try:
        return _verdict(expected, predicted)
    except workers.WorkerError as error:
        logger.warning("a pair of formulas counts as not equal: %s", error)
        return False


@lru_cache(maxsize=10_000)  # a verdict is remembered, a worker that failed is not
def _verdict(expected: str, predicted: str) -> bool:
    return workers.ask(expected, predicted)
