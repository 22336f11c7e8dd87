r"""Reading a formula, LaTeX or plain text, into a tree of operations.

One pass from left to right without looking back, so that the time is proportional to the length. latex2sympy2 takes up to a
second for what a model may write, and reads ``3(4)`` as a mixed number and ``a'`` as a. What is no plain arithmetic (sums,
integrals, transposes, words) is refused; such an answer is compared as text.

A tree is a tuple: the operation's name, then its operands. Leaves are ("number", Fraction) and ("symbol", name).
"""

import re
from fractions import Fraction

from latent_trainer.evaluation.grading import grammar

MAX_FORMULA_CHARACTERS = 400  # numbers aside
MAX_DEPTH = 12  # nested brackets


class NoFormulaError(ValueError):
    """A text is no formula that can be evaluated."""


def read(text: str) -> tuple:
    r"""Return the tree of a formula.

    Args:
        text: a cleaned answer, such as ``\frac{n(n+1)}{2}``, ``C(n, k)``, ``sqrt(2)`` or ``2^(n+1)``.

    Raises:
        NoFormulaError: it is too long, too deep, malformed, or more than arithmetic.
    """
    if len(re.sub("[0-9]{20,}", "", text)) > MAX_FORMULA_CHARACTERS:
        raise NoFormulaError("too long")
    reader = _Reader(text)
    tree = reader.sum()
    if reader.peek():
        raise NoFormulaError(f"unread: {reader.peek()}")
    return tree


class _Reader:
    """A position in a text; every method reads one part of the grammar from there."""

    def __init__(self, text: str):
        self.text, self.at, self.depth = text, 0, 0
        self.fences: list[str] = []  # what would close the brackets that are open

    def peek(self) -> str:
        """Return the next token without taking it: a character, a command, or nothing at the end."""
        while self.at < len(self.text) and self.text[self.at].isspace():
            self.at += 1
        if self.text.startswith("\\", self.at):
            found = grammar.COMMAND.match(self.text, self.at)
            return found[0] if found else "\\"
        return self.text[self.at : self.at + 1]

    def take(self, token: str) -> None:
        if self.peek() != token:
            raise NoFormulaError(f"{token} expected")
        self.at += len(token)

    def match(self, pattern: re.Pattern) -> re.Match | None:
        """Take what a pattern matches here."""
        self.peek()
        if found := pattern.match(self.text, self.at):
            self.at = found.end()
        return found

    def enclosed(self, closing: str, method=None):
        """Read up to a closing bracket, the opening one taken."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise NoFormulaError("too deep")
        self.fences.append(closing)
        tree = (method or self.sum)()
        self.take(self.fences.pop())
        self.depth -= 1
        return tree

    def sum(self) -> tuple:
        """Read terms with plus and minus between them."""
        terms = [self.product()]
        while (sign := self.peek()) in ("+", "-") and sign:
            self.at += 1
            term = self.product()
            terms.append(term if sign == "+" else negated(term))
        return terms[0] if len(terms) == 1 else ("add", *terms)

    def product(self) -> tuple:
        """Read factors with or without a sign between them; division goes from left to right."""
        factors = [self.signed()]
        while token := self.peek():
            if token in ("*", r"\cdot"):
                self.at += len(token)
                factors.append(self.signed())
            elif token in ("/", r"\div"):
                self.at += len(token)
                factors.append(("power", self.signed(), ("number", Fraction(-1))))
            elif (self.starts(token) and not token.isdigit()) or (
                token.isdigit() and factors[-1][0] not in ("number", "mixed") and self.text[self.at - 1] not in "0123456789"
            ):
                factors.append(self.raised())
            else:
                break
        return factors[0] if len(factors) == 1 else ("multiply", *factors)

    def starts(self, token: str) -> bool:
        """Return whether a token begins a factor."""
        if token in grammar.FENCES and self.fences and self.fences[-1] == grammar.FENCES[token][0] and token in ("|", r"\|"):
            return False
        if token.isascii() and (token.isalnum() or token in ("(", "[", "{", ".", "|", r"\{", r"\|")):
            return not (token.isalpha() and self.text.startswith("choose", self.at))
        return token[0] == "\\" and token[1:].isalpha() and token not in (r"\rfloor", r"\rceil", r"\circ")

    def signed(self) -> tuple:
        """Read a factor with the signs before it."""
        negative = False
        while (sign := self.peek()) in ("+", "-") and sign:
            self.depth += 1
            if self.depth > MAX_DEPTH:
                raise NoFormulaError("too many signs")
            negative ^= sign == "-"
            self.at += 1
        factor = self.raised()
        return negated(factor) if negative else factor

    def raised(self) -> tuple:
        """Read a factor with factorials, degrees and one exponent behind it."""
        tree, powers = self.primary(), 0
        while token := self.peek():
            if token == "!":
                self.at += 1
                if self.peek() == "!":  # a double factorial is something else
                    raise NoFormulaError("double factorial")
                tree = ("factorial", tree)
            elif token == "^" and not powers:
                self.at += 1
                if re.match(r"\s*\{?\s*\\circ(?![A-Za-z])\s*\}?", self.text[self.at :]):
                    self.match(re.compile(r"\s*\{?\s*\\circ(?![A-Za-z])\s*\}?"))
                    tree = ("degrees", tree)
                else:
                    tree, powers = ("power", tree, self.exponent()), 1
            elif token == "^":  # a^b^c means different things to different readers
                raise NoFormulaError("exponents in a row")
            elif token == "c" and self.text.startswith("choose", self.at):
                self.at += 6
                tree = ("binomial", tree, self.primary())
            else:
                break
        return tree

    def exponent(self) -> tuple:
        """Read what follows a caret: a group, or a number, letter or command on its own, with or without a sign."""
        if re.match(r"\s*(?:\{\s*)?(?:T|\\top|\\intercal|\\perp)(?![A-Za-z])", self.text[self.at :]):
            raise NoFormulaError("transposed")  # matrices do not commute
        sign = self.peek()
        if sign in ("+", "-"):
            self.at += 1
        token = self.peek()
        tree = self.number() if token.isdigit() or token == "." else self.primary()
        return negated(tree) if sign == "-" else tree

    def primary(self) -> tuple:
        """Read a number, a name, a bracket or a call."""
        token = self.peek()
        if not token:
            raise NoFormulaError("something is missing")
        if token in grammar.FENCES:
            self.at += len(token)
            closing, name = grammar.FENCES[token]
            tree = self.enclosed(closing)
            if name != "norm":
                return (name, tree)
            kind = self.match(grammar.SUBSCRIPT)
            return ("call", "norm" + ((kind[1] or kind[2]).strip() if kind else ""), tree)
        if token in grammar.CLOSING:
            self.at += len(token)
            return self.enclosed(grammar.CLOSING[token])
        if token in "0123456789.":
            return self.number(mixed=True)
        if token[0] == "\\":
            self.at += len(token)
            return self.command(token[1:])
        if token.isascii() and token.isalpha():
            return self.word()
        raise NoFormulaError(token)

    def number(self, mixed: bool = False) -> tuple:
        found = self.match(grammar.NUMBER)
        if found is None:
            raise NoFormulaError("a number is malformed")
        whole, rest = found[1] or "", found[2] or found[3] or ""
        try:
            value = Fraction(int(whole + rest), 10 ** len(rest))
        except ValueError as error:  # Python's own limit on digits
            raise NoFormulaError("a number is too long") from error
        if power := grammar.SCIENTIFIC.match(self.text, self.at):
            self.at = power.end()
            return ("number", value * Fraction(10) ** int(power[1]))
        if mixed and not rest and (over := grammar.MIXED.match(self.text, self.at)):
            above, below = int(over[1] or over[3]), int(over[2] or over[4])
            if below and above < below:
                self.at = over.end()
                return ("mixed", ("number", value + Fraction(above, below)))
        if self.text.startswith(".", self.at):
            raise NoFormulaError("a number with two points")
        return ("number", value)

    def word(self) -> tuple:
        """Read a letter, or a function written without a backslash."""
        letters = grammar.LETTERS.match(self.text, self.at)[0]
        if grammar.CHOICE.match(self.text, self.at):
            self.at += 1
            return self.command("binom")
        if letters in grammar.WORDS or letters in grammar.GREEK:
            self.at += len(letters)
            return self.command(letters)
        if len(letters) > 3:
            raise NoFormulaError(f"a word: {letters}")
        self.at += 1
        return self.symbol(letters[0])

    def symbol(self, name: str) -> tuple:
        """Read the marks of a name, and its arguments where it is a function."""
        plain = name
        while found := self.match(grammar.MARK) or self.match(grammar.SUBSCRIPT):
            if found.re is grammar.SUBSCRIPT:
                name += "_" + (found[1] or found[2]).replace(" ", "")
            else:
                name += "*" if "star" in found[0] else "'"
        if name == "e":
            return ("constant", "e")
        if plain in grammar.CALLED and self.match(grammar.INVERSE):
            name += "^-1"
        opening = self.peek()
        event = plain in grammar.EXPECTED and re.match(r"[(\[]\s*[A-Z]", self.text[self.at : self.at + 3])
        if (
            opening in ("(", "[")
            and opening
            and (event or (plain in grammar.CALLED and opening == "(") or name.endswith("'"))
        ):
            self.at += 1
            return ("call", name, *self.enclosed(grammar.CLOSING[opening], self.listing))
        if self.text[self.at : self.at + 1].isdigit() and plain.isalpha() and "_" not in name:
            # n2^n is a product, x1 is a name of its own
            digits = re.compile("[0-9]+").match(self.text, self.at)
            if self.text[digits.end() : digits.end() + 1] not in ("^", "."):
                self.at = digits.end()
                name += digits[0]
        return ("symbol", name)

    def listing(self) -> list[tuple]:
        """Read expressions with commas between them."""
        members = [self.sum()]
        while self.peek() == ",":
            self.at += 1
            members.append(self.sum())
        return members

    def argument(self) -> tuple:
        """Read what TeX takes for an argument: a group, or the next digit, letter or command."""
        token = self.peek()
        if token.isdigit():
            self.at += 1
            return ("number", Fraction(int(token)))
        if token.isascii() and token.isalpha():
            self.at += 1
            return ("constant", "e") if token == "e" else ("symbol", token)
        return self.primary()

    def command(self, name: str) -> tuple:
        """Read a command, whose name has been taken, with its operands."""
        self.depth += 1
        if self.depth > 2 * MAX_DEPTH:
            raise NoFormulaError("too deep")
        tree = self.applied(name) if name in grammar.PREFIX else self.named(name)
        self.depth -= 1
        return tree

    def named(self, name: str) -> tuple:
        """Read the operands of any other command."""
        if name in ("pi", "varpi"):
            return ("constant", "pi")
        if name in grammar.GREEK:
            return self.symbol("\\" + name)
        if name in ("frac", "binom"):
            if name == "binom" and self.peek() == "(":
                self.at += 1
                pair = self.enclosed(")", self.listing)
                if len(pair) != 2:
                    raise NoFormulaError("a binomial has two arguments")
            else:
                pair = [self.argument(), self.argument()]
            if self.text[self.at : self.at + 1].isdigit():
                raise NoFormulaError("a digit too many")
            return (
                ("binomial", *pair)
                if name == "binom"
                else ("multiply", pair[0], ("power", pair[1], ("number", Fraction(-1))))
            )
        if name in ("sqrt", "cbrt"):
            index = ("number", Fraction(3 if name == "cbrt" else 2))
            if self.peek() == "[":
                self.at += 1
                index = self.enclosed("]")
            return ("root", self.number() if self.peek().isdigit() else self.argument(), index)
        if name in grammar.LISTS or name in grammar.BRACKETED:
            opening = self.peek()
            if opening not in grammar.CLOSING:
                raise NoFormulaError(f"{name} without brackets")
            self.at += len(opening)
            members = self.enclosed(grammar.CLOSING[opening], self.listing)
            if name in grammar.BRACKETED and len(members) != 1:
                raise NoFormulaError(f"{name} has one argument")
            return (grammar.LISTS.get(name) or grammar.BRACKETED[name], *members)
        if name in grammar.ACCENTS:
            opening = self.peek()
            letter = re.compile(r"\{\s*(\\?[A-Za-z]+)\s*\}|([A-Za-z])").match(self.text, self.at) if opening else None
            if letter is None:
                raise NoFormulaError(f"{name} of more than a name")
            self.at = letter.end()
            accent = "bar" if name == "overline" else name
            return self.symbol(f"{accent} {letter[1] or letter[2]}")
        if name in ("operatorname", "text"):
            called = self.match(re.compile(r"\{\s*([A-Za-z]{2,20})\s*\}"))
            if called and self.peek() == "(":
                self.at += 1
                return ("call", called[1].lower(), *self.enclosed(")", self.listing))
        raise NoFormulaError(f"command {name}")

    def applied(self, name: str) -> tuple:
        """Read a function of one argument: its base, its exponent, and the argument with or without brackets."""
        base, power = None, None
        if self.peek() == "_":
            self.at += 1
            base = self.number() if self.peek().isdigit() and name == "log" else self.argument()
        if self.peek() == "^":
            self.at += 1
            power = self.exponent()
        bracket = self.peek()
        if bracket in grammar.CLOSING:
            self.at += len(bracket)
            argument = self.enclosed(grammar.CLOSING[bracket])
        else:
            self.depth += 1
            if self.depth > MAX_DEPTH:
                raise NoFormulaError("too deep")
            factors = [self.raised()]
            while (
                (token := self.peek()) and self.starts(token) and token[1:] not in grammar.PREFIX and not self.named_next()
            ):
                if token in ("(", "[", "{") or token.isdigit():
                    break
                factors.append(self.raised())
            argument = factors[0] if len(factors) == 1 else ("multiply", *factors)
            self.depth -= 1
        tree = (grammar.PREFIX[name], argument) if base is None else (grammar.PREFIX[name], argument, base)
        if power is None:
            return tree
        if power == negated(("number", Fraction(1))) and name in ("sin", "cos", "tan"):
            return ("a" + name, argument)
        return ("power", tree, power)

    def named_next(self) -> bool:
        """Return whether a function written without a backslash follows."""
        letters = grammar.LETTERS.match(self.text, self.at)
        return bool(letters) and letters[0] in grammar.WORDS


def negated(tree: tuple) -> tuple:
    """Return the tree of the opposite."""
    return ("multiply", ("number", Fraction(-1)), tree)
