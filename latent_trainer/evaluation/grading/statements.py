r"""What an answer says: a bare value, a name and its value, an equation, an inequality."""

import itertools
import re
from dataclasses import dataclass

from latent_trainer.evaluation.notation import compact

RELATION = re.compile(
    r"\\(?P<command>approx|ne|le|ge|in|sim|equiv|notin|subset|subseteq|implies|to|iff)(?![A-Za-z])\s*|(?P<sign>==?|<|>)\s*"
)
MAX_SIDES = 8

ACCENT = r"\\(?:hat|bar|tilde|dot|vec|overline|mathbb|mathcal|widehat|widetilde)"
GREEK = (
    r"\\(?:alpha|beta|gamma|delta|epsilon|zeta|eta|theta|iota|kappa|lambda|mu|nu|xi|rho|sigma|tau|upsilon|phi|chi|psi|omega"
    r"|Gamma|Delta|Theta|Lambda|Xi|Pi|Sigma|Upsilon|Phi|Psi|Omega|ell)(?![A-Za-z])"
)
LETTER = rf"(?:[A-Za-z](?![A-Za-z])|{GREEK}|{ACCENT}\s*\{{\s*\\?[A-Za-z]+\s*\}}|{ACCENT}\s+[A-Za-z](?![A-Za-z]))"
WORDED = r"\\(?:operatorname|text)\*?\s*\{[A-Za-z][A-Za-z .'-]*\}"
SUB = r"_\s*(?:\{(?:[^{}]|\{[^{}]*\})*\}|[0-9A-Za-z]+|\\[A-Za-z]+)"
SUP = r"\^\s*(?:\\star(?![A-Za-z])|\\prime(?![A-Za-z])|\{\s*(?:\\star|\\prime|\(\s*[0-9A-Za-z]+\s*\)|-\s*1)\s*\})"
MARKS = rf"(?:\s*(?:{SUB}|{SUP}|'))*"
NAME = re.compile(rf"(?P<base>{LETTER}|{WORDED}){MARKS}\s*(?P<arguments>\([^()]*\)|\[[^\[\]]*\])?")
SIMPLE = re.compile(rf"{LETTER}{MARKS}")
IN_BARS = rf"(?:{LETTER}|{WORDED}|[A-Z]{{2,3}}){MARKS}"
BARS = re.compile(
    rf"(?:\\\|[^|\\]+\\\|(?:\s*{SUB})?|\|\s*{IN_BARS}(?:\s*\\(?:cup|cap|setminus)(?![A-Za-z])\s*{IN_BARS}){{0,4}}\s*\|)"
)
WORDS = re.compile(
    r"(?:the )?[A-Za-z]+(?:[ -][A-Za-z]+){0,7}(?:\s*_\s*\{?[A-Za-z0-9]+\}?)?\s*(?:\([^()]*\))?", re.IGNORECASE
)
COLON = re.compile(r"(?!lambda)((?:the )?[A-Za-z]{4,}(?: [A-Za-z]+){0,4})\s*:\s*(?=\S)", re.IGNORECASE)
SHORT_WORDS = {"sum", "max", "min", "ans", "gcd", "lcm", "age", "avg", "rms", "var", "tax", "net", "det", "dim", "deg", "tr"}
SEGMENT = re.compile(
    r"(?:\\(?:overline|angle|triangle|overrightarrow)\s*\{?\s*)?[A-Z]{2,4}\s*\}?|m?\s*\\angle\s*\{?\s*[A-Z]{1,3}\s*\}?"
)
QUANTITY = re.compile(
    r"\\(?:det|dim|lim|int|iint|oint|sum|prod|sup|inf|arg|nabla|partial|Pr|deg|ker)(?![A-Za-z]).*"
    r"|\\frac\s*\{\s*(?:d|\\partial)[^{}]*\}\s*\{\s*(?:d|\\partial)[^{}]*\}.*"
    r"|\\(?:max|min)\s*(?:_.*|[A-Za-z].*)?|[A-Za-z]+_\s*\{?[a-z]+\}?\s*\\(?:max|min).*",
    re.DOTALL,
)
FUNCTION = re.compile(r"(?:sqrt|cbrt|floor|ceil|abs|exp|log|max|min|gcd|lcm|binom|(?:arc)?(?:sin|cos|tan)h?)\s*\(")
OWN_FACTOR = set("fghFGH")
REVERSED = {">": "<", r"\ge": r"\le"}


@dataclass(frozen=True)
class Statement:
    """An answer taken apart.

    Args:
        names: what the value is called; empty where it has no name.
        values: the sides that all stand for the value, one of them unless it is a chain; empty where there is no value.
        relations: pairs of sides with what stands between them, "=", "<", "\\le" or "\\ne"; empty for a bare value.
    """

    names: frozenset[str]
    values: tuple[str, ...]
    relations: tuple[tuple[str, str, str], ...]


def statement(text: str) -> Statement:
    """Take a cleaned answer without commas outside brackets apart.

    Args:
        text: such as ``5``, ``x = 5``, ``2 + 3 = 5``, ``2x + y = 3``, ``0 < x \\le 1``, ``x \\in [0, 1]``.
    """
    sides, signs = _sides(text)
    if not signs:
        if found := COLON.match(text):
            return Statement(frozenset({_key(found[1])}), (text[found.end() :].strip(),), ())
        return Statement(frozenset(), (text,), ())
    if len(sides) > MAX_SIDES or not all(sides):
        return Statement(frozenset(), (), (("", text, ""),))
    if set(signs) <= {"=", r"\approx"}:
        return _equation(sides, signs)
    if signs == [r"\in"] and (name := label(sides[0])):
        return Statement(frozenset({name}), (sides[1],), ((r"\in", sides[0], sides[1]),))
    relations = tuple(
        (REVERSED.get(sign, sign), *((right, left) if sign in REVERSED else (left, right)))
        for left, sign, right in zip(sides, signs, sides[1:], strict=False)
    )
    name, interval = _interval(sides, signs)
    return Statement(frozenset({name} if name else ()), (interval,) if interval else (), relations)


def _sides(text: str) -> tuple[list[str], list[str]]:
    """Split at relations outside brackets."""
    sides, signs, start, level, at = [], [], 0, 0, 0
    while at < len(text):
        letter = text[at]
        level += (letter in "([{") - (letter in ")]}")
        if level == 0 and letter in "\\<>=" and (found := RELATION.match(text, at)):
            sides.append(text[start:at].strip())
            signs.append("\\" + found["command"] if found["command"] else found["sign"][:1])
            at = start = found.end()
            continue
        at += 1
    return [*sides, text[start:].strip()], signs


def _equation(sides: list[str], signs: list[str]) -> Statement:
    """Return what sides with equality signs between them say; what is only approximate counts where nothing else is said."""
    exact = 1
    while exact < len(sides) and signs[exact - 1] == "=":
        exact += 1
    if exact < len(sides) and (exact > 1 or label(sides[0]) is None):
        sides = sides[:exact]
    names, rest = [], list(sides)
    while len(rest) > 1 and (name := label(rest[0])):
        names.append(name)
        rest.pop(0)
    if not names and len(rest) == 2 and (name := label(rest[1])):
        names, rest = [name], rest[:1]
    relations = tuple(("=", left, right) for left, right in itertools.pairwise(sides))
    return Statement(frozenset(names), tuple(rest), relations)


def label(text: str) -> str | None:
    r"""Return a key of what names a value, None where the text is no name: x, \hat{x}^*, f'(x), P(A), |S|, total, AB."""
    if text.startswith("(") and text.endswith(")") and "," in text:
        members = [label(member.strip()) for member in text[1:-1].split(",")]
        return None if None in members else f"({','.join(members)})"
    if (found := NAME.fullmatch(text)) and not _is_product(found):
        return _key(text)
    if BARS.fullmatch(text) or SEGMENT.fullmatch(text) or QUANTITY.fullmatch(text):
        return _key(text)
    if FUNCTION.match(text):
        return None
    if WORDS.fullmatch(text) and any(
        len(word) > 3 or word.lower() in SHORT_WORDS for word in re.findall("[A-Za-z]+", text.split("(")[0])
    ):
        return _key(text).casefold()
    return None


def _is_product(found: re.Match) -> bool:
    """Return whether letters before a bracket are more likely a factor: x(x+1)."""
    base, arguments = found["base"], found["arguments"]
    if arguments is None or base in OWN_FACTOR or base.startswith(("\\operatorname", "\\text")):
        return False
    inner = arguments[1:-1]
    if base in inner:
        return True
    if (len(base) == 1 and base.isupper()) or base.startswith("\\"):
        return False
    return not re.fullmatch(r"\s*-?(?:[0-9]+|[A-Za-z](?:_[0-9])?)(?:\s*,\s*-?(?:[0-9]+|[A-Za-z](?:_[0-9])?))*\s*", inner)


def _key(text: str) -> str:
    """Return a name as a key; a star marks an optimum and is no part of the name."""
    text = re.sub(r"\^\s*(?:\\star|\{\s*\\star\s*\})\s*", "", text)
    text = re.sub(
        r"\\(?:widehat|widetilde|overline)(?=\s*[\{ ])",
        lambda found: {"\\widehat": "\\hat", "\\widetilde": "\\tilde"}.get(found[0], "\\bar"),
        text,
    )
    text = re.sub(r"\\(?:operatorname|text)\*?\s*\{([^{}]*)\}", r"\1", text)
    return re.sub(r"[{}\s]", "", re.sub("^the ", "", text, flags=re.IGNORECASE))


def _interval(sides: list[str], signs: list[str]) -> tuple[str | None, str | None]:
    """Return the name and the interval of an inequality that bounds one name by what does not hold it."""
    if len(sides) == 2:
        upward = signs[0] in ("<", r"\le")
        if SIMPLE.fullmatch(sides[0]):
            sides, signs = ["", *sides] if upward else [*sides[::-1], ""], [signs[0]] * 2
        elif SIMPLE.fullmatch(sides[1]):
            sides, signs = [*sides, ""] if upward else ["", *sides[::-1]], [signs[0]] * 2
        else:
            return None, None
    elif len(sides) == 3 and signs[0] in (">", r"\ge") and signs[1] in (">", r"\ge"):
        sides, signs = sides[::-1], signs[::-1]
    if len(sides) != 3 or not {*signs} <= {"<", ">", r"\le", r"\ge"} or not SIMPLE.fullmatch(sides[1]):
        return None, None
    if len({sign in ("<", r"\le") for sign in signs}) > 1 or _holds(sides[0] + " " + sides[2], sides[1]):
        return None, None
    low, high = sides[0] or r"-\infty", sides[2] or r"\infty"
    left = "[" if signs[0] in (r"\le", r"\ge") and sides[0] else "("
    right = "]" if signs[1] in (r"\le", r"\ge") and sides[2] else ")"
    return _key(sides[1]), f"{left}{low}, {high}{right}"


def _holds(text: str, name: str) -> bool:
    """Return whether a name stands in a text."""
    letter = re.match(r"\\?[A-Za-z]+", name)[0]
    return letter in re.sub(r"\\[A-Za-z]+", lambda found: found[0] if found[0] == letter else " ", compact(text))
