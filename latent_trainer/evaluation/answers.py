"""Comparing an answer with the reference."""

from collections.abc import Callable
from functools import lru_cache

from latent_trainer.data.checks import check_of
from latent_trainer.evaluation import notation
from latent_trainer.evaluation.extraction import extract_answer
from latent_trainer.evaluation.grading import comparison, units

__all__ = ["extract_answer", "is_equivalent", "is_right"]


def is_right(prediction: str | None, reference: str, check: str = "") -> bool:
    """Return whether an answer is right: it passes the problem's check where there is one, else it equals the reference.

    Everything that grades an answer to a problem asks this: evaluation, training, records, rewards. A check, too, never
    raises on what a model writes, and takes time in proportion to it. It reads the answer as it stands, then without markup
    around it, then without its unit, so that a problem with a check forgives what one without forgives.

    Args:
        prediction: an extracted answer, None where there was none.
        reference: ``answer`` of the problem.
        check: ``check`` of the problem.

    Raises:
        InputError: a check that does not exist.
    """
    if check:
        return prediction is not None and _passes(prediction, check_of(check))
    return is_equivalent(prediction, reference)


def _passes(prediction: str, check: Callable[[str], bool]) -> bool:
    if check(prediction):
        return True
    bare = notation.clean(prediction)
    return bare is not None and (check(bare) or check(units.measured(bare)[0]))


def is_equivalent(prediction: str | None, reference: str | None) -> bool:
    """Return whether two answers are the same, in either order; docs/evaluation.md has the rules as a table.

    A missing answer equals nothing. Nothing that a model writes raises or takes more than a fraction of a second; an answer
    beyond the limits of `notation` and `grading` equals its own copy only.

    Args:
        prediction: an extracted answer, None where there was none.
        reference: the right answer.
    """
    if prediction is None or reference is None or not prediction.strip() or not reference.strip():
        return False
    if prediction.strip() == reference.strip():
        return True
    predicted, expected = notation.clean(prediction), notation.clean(reference)
    return _verdict(*sorted((predicted, expected))) if predicted and expected else False


@lru_cache(maxsize=10_000)
def _verdict(one: str, other: str) -> bool:
    return comparison.same(one, other)
