"""Reading an arithmetic expression that a model wrote: its exact value and the numbers in it, or nothing."""

import re
from fractions import Fraction

MAX_LENGTH = 400  # characters; an expression in six numbers takes fifty
MAX_DEPTH = 30  # brackets and signs inside each other
TOKEN = re.compile(r"\s*(?:([0-9]+(?:\.[0-9]+)?|\.[0-9]+)|(.))", re.DOTALL)
NUMBER = re.compile(r"[0-9]*\.?[0-9]+")
SIGNS = str.maketrans(
    "\u00d7\u00b7\u22c5\u2217\uff0a\u00f7\u2215\u2044\uff0f\u2212\u2013\uff0d\uff0b\uff08\uff09[]", "*****////---+()()"
)
TIMES = re.compile(r"(?<=[\s)])[xX](?=[\s(])")  # a letter x between blanks or brackets: there are no unknowns
TEX = {r"\times": "*", r"\cdot": "*", r"\div": "/", r"\left": "", r"\right": "", r"\(": "(", r"\)": ")"}
FRACTION = re.compile(r"\\[dt]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}")


class NoExpressionError(ValueError):
    """The text is no expression in numbers, + - * / and brackets, or has no value."""


def evaluate(text: str) -> tuple[Fraction, list[Fraction]]:
    """Return the value of an expression and the numbers in it, from left to right.

    Numbers, ``+ - * /`` with their signs in Unicode and TeX (``\\times``, ``\\div``, ``\\frac{a}{b}``) or an x, brackets, a
    sign before a number or bracket, and a product without a sign where a bracket begins or ends, as in 2(3 + 4); nothing
    else, no powers: every value stays as short as the expression. Such a product behind a division, 6/2(1 + 2), is read in
    two ways by different people, and refused. Takes time in proportion to the text, whatever stands in it.

    Args:
        text: what a model wrote as its answer.

    Raises:
        NoExpressionError: anything else, a division by zero, or a text beyond the limits above.
    """
    if len(text) > MAX_LENGTH:
        raise NoExpressionError("too long")
    text = text.rstrip(" .").strip().strip("$").strip()
    for word, sign in TEX.items():
        text = text.replace(word, sign)
    text = TIMES.sub("*", FRACTION.sub(r"((\1)/(\2))", text)).translate(SIGNS).rstrip(" .")
    reader = _Reader([number or sign for number, sign in TOKEN.findall(text) if (number or sign).strip()])
    value = reader.total(0)
    if reader.peek() is not None:
        raise NoExpressionError(f"'{reader.peek()}' after the end")
    return value, reader.numbers


class _Reader:
    """The rest of the tokens, and the numbers that were read."""

    def __init__(self, tokens: list[str]):
        self.tokens, self.at, self.numbers = tokens, 0, []

    def peek(self) -> str | None:
        return self.tokens[self.at] if self.at < len(self.tokens) else None

    def take(self) -> str | None:
        token = self.peek()
        self.at += 1
        return token

    def total(self, depth: int) -> Fraction:
        """Read products that are added or taken away."""
        value = self.product(depth)
        while self.peek() in ("+", "-"):
            value = value + self.product(depth) if self.take() == "+" else value - self.product(depth)
        return value

    def product(self, depth: int) -> Fraction:
        """Read what is multiplied or divided."""
        value, divided = self.atom(depth), False
        while self.peek() in ("*", "/") or self.joins():
            if self.joins():
                if divided:
                    raise NoExpressionError("a product without a sign behind a division")
                value *= self.atom(depth)
            elif self.take() == "*":
                value *= self.atom(depth)
            elif (divisor := self.atom(depth)) != 0:
                value, divided = value / divisor, True
            else:
                raise NoExpressionError("a division by zero")
        return value

    def joins(self) -> bool:
        """Return whether a bracket begins or ends here, with a number or another bracket on its other side."""
        token, before = self.peek(), self.tokens[self.at - 1] if self.at else None
        return token == "(" or (before == ")" and token is not None and NUMBER.fullmatch(token) is not None)

    def atom(self, depth: int) -> Fraction:
        """Read a number, a bracket, or one of them with a sign."""
        token = self.take()
        if token is None or depth > MAX_DEPTH:
            raise NoExpressionError("ends too early" if token is None else "too deep")
        if token in ("+", "-"):
            value = self.atom(depth + 1)
            return value if token == "+" else -value
        if token == "(":
            value = self.total(depth + 1)
            if self.take() != ")":
                raise NoExpressionError("a bracket stays open")
            return value
        if not NUMBER.fullmatch(token):
            raise NoExpressionError(f"'{token[:20]}' is no number")
        self.numbers.append(Fraction(token))
        return self.numbers[-1]
