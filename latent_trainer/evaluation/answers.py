"""Comparing an answer with the reference."""

from functools import lru_cache

from latent_trainer.evaluation import notation
from latent_trainer.evaluation.extraction import extract_answer
from latent_trainer.evaluation.grading import comparison

__all__ = ["extract_answer", "is_equivalent"]


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
