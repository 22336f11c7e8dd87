"""Finding the answer in what a model wrote, and comparing it with the reference."""

import re
from decimal import Decimal

from latent_trainer.errors import check_choice

NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")
MAX_CHARACTERS = 1000


def extract_answer(text: str, mode: str = "strict", answer_prefix: str = "### ") -> str | None:
    """Return the answer in a generated text, or None where there is none.

    Args:
        text: what the model wrote, special tokens removed.
        mode: "strict" takes the rest of the line after the last answer prefix; "flexible" falls back to the last number.
        answer_prefix: the template's prefix; empty where the prompt already ends with it.
    """
    check_choice("mode", mode, ("strict", "flexible"))
    prefix = answer_prefix.strip()
    _, found, rest = text.rpartition(prefix) if prefix else ("", True, text)
    lines = rest.strip().splitlines()
    if found and lines and lines[0].strip():
        return lines[0].strip()
    numbers = NUMBER.findall(text) if mode == "flexible" else []
    return numbers[-1] if numbers else None


def is_equivalent(prediction: str | None, reference: str) -> bool:
    """Return whether two answers are the same text or the same number; a missing answer equals nothing."""
    if prediction is None:
        return False
    return _normalised(prediction) == _normalised(reference)


def _normalised(answer: str) -> str:
    answer = answer.strip()[:MAX_CHARACTERS].removesuffix(".").lstrip("$").strip()
    if NUMBER.fullmatch(answer):
        return format(Decimal(answer.replace(",", "")).normalize(), "f")
    return " ".join(answer.split())
