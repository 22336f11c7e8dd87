"""Wording and LaTeX that the families share: lists, plurals, powers, binomials, signed sums."""

from collections.abc import Iterable


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """Return ``1 ball`` or ``3 balls``; ``plural`` for nouns that take more than an s."""
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


def listed(items: Iterable, word: str = "and") -> str:
    """Return ``a, b and c``."""
    items = [str(item) for item in items]
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} {word} {items[-1]}"


def shifted(symbol: str, offset: int) -> str:
    """Return ``n``, ``n+3`` or ``n-2``."""
    return f"{symbol}{offset:+d}" if offset else symbol


def binomial(top: object, bottom: object) -> str:
    """Return the LaTeX of a binomial coefficient."""
    return f"\\binom{{{top}}}{{{bottom}}}"


def power(base: int | str, exponent: object) -> str:
    """Return the LaTeX of a power; a negative or composed base is put in brackets, powers of 1 are ``1``,
    first powers the base."""
    if base == 1:
        return "1"
    bare = str(base).isdigit() or len(str(base)) == 1 or str(base).startswith("(")
    base = base if bare else f"({base})"
    return str(base) if exponent == 1 else f"{base}^{{{exponent}}}"


def times(coefficient: int, body: str) -> str:
    """Return the LaTeX of ``coefficient`` times ``body``, without a factor 1; ``0`` if the coefficient is 0."""
    if coefficient == 0 or body == "1":
        return str(coefficient)
    sign = "-" if coefficient < 0 else ""
    if abs(coefficient) == 1:
        return sign + body
    return f"{coefficient}{body}" if body[0].isalpha() else f"{coefficient} \\cdot {body}"


def summed(terms: Iterable[str]) -> str:
    """Join terms with their signs, leaving out those that are ``0``."""
    kept = [term for term in terms if term != "0"]
    return "".join(kept[:1] + [term if term.startswith("-") else f"+{term}" for term in kept[1:]]) or "0"


def total(values: Iterable[int]) -> str:
    """Return ``5-2+4 = 7``, or the number alone if there is only one."""
    values = list(values)
    return f"{summed(map(str, values))} = {sum(values)}" if len(values) > 1 else str(sum(values))


def multiplied(factors: Iterable) -> str:
    """Return the factors joined by LaTeX multiplication dots."""
    return " \\cdot ".join(map(str, factors))
