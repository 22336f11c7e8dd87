"""Reads the answers of the convex families back into numbers, and compares."""

import math
import re
from fractions import Fraction

import numpy as np


def numbers(answer):
    """Return the entries of a number, a tuple or an interval."""
    return [float(Fraction(part)) for part in re.fullmatch(r"[(\[]?(.*?)[)\]]?", answer)[1].split(",")]


def agree(answer, expected, tolerance=1e-5):
    """Assert that an answer in numbers equals what another route gives."""
    given, expected = np.array(numbers(answer)), np.atleast_1d(np.asarray(expected, float))
    assert given.shape == expected.shape, f"{answer} should have {expected.size} entries"
    assert np.allclose(given, expected, rtol=tolerance, atol=tolerance), f"{answer} should be {expected}"


def agree_formula(answer, expected, tolerance=1e-6, **values):
    """Assert that a LaTeX expression has the value that another route gives."""
    given = evaluate(answer, **values)
    assert math.isclose(given, expected, rel_tol=tolerance, abs_tol=tolerance), f"{answer} should be {expected} at {values}"


def verdict(answer, holds):
    """Assert that a yes or no is what another route finds."""
    assert answer == ("yes" if holds else "no"), f"{answer} should be {'yes' if holds else 'no'}"


def evaluate(latex, **values):
    """Return the value of a LaTeX expression in one-letter names; ``L`` stands for lambda."""
    text = latex.replace("\\lambda", "L")
    while "\\frac" in text:
        start = text.index("\\frac")
        middle = _closing(text, start + 5)
        end = _closing(text, middle)
        text = f"{text[:start]}(({text[start + 6 : middle - 1]})/({text[middle + 1 : end - 1]})){text[end:]}"
    text = text.replace("{", "(").replace("}", ")").replace("^", "**")
    code = ""
    for token in re.findall(r"\d+|\\[a-z]+|[a-zA-Z]|\*\*|[-+*/()]", text):
        joins = token == "(" or token[0] == "\\" or token.isalnum()
        factor = code[-1:] == ")" or (code[-1:].isalnum() and not code.endswith(("log", "exp", "sqrt")))
        code += ("*" if joins and factor else "") + token.lstrip("\\")
    return eval(code, {"log": math.log, "exp": math.exp, "sqrt": math.sqrt, **values})


def _closing(text, start):
    depth = 0
    for index in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[index], 0)
        if depth == 0:
            return index + 1
    raise AssertionError(f"braces do not match in {text}")
