"""Exact values of the closed forms the combinatorics families give as answers, read by a small grammar of its own."""

import re
from fractions import Fraction
from math import factorial

TOKEN = re.compile(r"\s*(\\frac|\\binom|\\cdot|\d+|[a-z]|[-+^!(){}])")


def binomial(top, bottom):
    """C(top, bottom) by counting up a row of Pascal's triangle; 0 outside of it."""
    if bottom < 0 or top < bottom:
        return 0
    row = [1] + [0] * bottom
    for _ in range(top):
        for place in range(bottom, 0, -1):
            row[place] += row[place - 1]
    return row[bottom]


def value(text, **symbols):
    """The value of a LaTeX formula as a Fraction, with the symbols replaced by integers."""
    tokens = TOKEN.findall(text)
    assert "".join(tokens) == text.replace(" ", ""), f"unreadable formula: {text}"
    return _Reader(tokens, symbols).whole()


class _Reader:
    def __init__(self, tokens, symbols):
        self.tokens, self.symbols, self.place = [*tokens, "end"], symbols, 0

    def next(self):
        self.place += 1
        return self.tokens[self.place - 1]

    def peek(self):
        return self.tokens[self.place]

    def expect(self, token):
        found = self.next()
        assert found == token, f"{found} instead of {token}"

    def whole(self):
        result = self.sum()
        self.expect("end")
        return result

    def sum(self):
        sign = -1 if self.peek() == "-" else 1
        if sign == -1:
            self.next()
        result = sign * self.product()
        while self.peek() in ("+", "-"):
            sign = -1 if self.next() == "-" else 1
            result += sign * self.product()
        return result

    def product(self):
        result = self.factor()
        while self.peek() not in ("+", "-", ")", "}", "end"):
            if self.peek() == "\\cdot":
                self.next()
            result *= self.factor()
        return result

    def factor(self):
        result = self.atom()
        while self.peek() in ("^", "!"):
            if self.next() == "!":
                assert result == int(result) >= 0
                result = Fraction(factorial(int(result)))
            else:
                exponent = self.group()
                assert exponent == int(exponent)
                result = result ** int(exponent)
        return result

    def group(self):
        self.expect("{")
        result = self.sum()
        self.expect("}")
        return result

    def atom(self):
        token = self.next()
        if token == "(":
            result = self.sum()
            self.expect(")")
            return result
        if token == "\\frac":
            top = self.group()
            return top / self.group()
        if token == "\\binom":
            top, bottom = self.group(), self.group()
            return Fraction(binomial(int(top), int(bottom)))
        if token.isdigit():
            return Fraction(int(token))
        return Fraction(self.symbols[token])
