"""TeX in running text: which stretches are formulas, and what a formula comes to."""

import re
from dataclasses import dataclass

FIRST_MARK = 0xE000  # private characters stand for formulas
MOST = 500  # formulas of one text
ROWS = r"(?:align(?:ed|at)?|equation|gather(?:ed)?|split|eqnarray|multline|flalign|displaymath|math)"
SPAN = re.compile(
    r"(?<!\\)\$\$([^$]{1,1000}?)\$\$|\\\[(.{1,1000}?)\\\]|\\\((.{1,500}?)\\\)"
    r"|(\\begin\{([a-zA-Z]{1,12})\*?\}.{1,1000}?\\end\{\5\*?\})"
    r"|(?<![\\$\d])\$(?=[^\s$,.;:)*+/=])([^$\n]{0,298}[^\s$\\])\$(?!\.?\d)",
    re.DOTALL,
)
ROW_BLOCK = re.compile(rf"\s*\\begin\{{({ROWS})\*?\}}(?:\{{\d+\}})?(.*)\\end\{{\1\*?\}}[\s.,;]*", re.DOTALL)
TRAILING = re.compile(
    r"(?:\\(?:q?quad|tag\*?\{[^{}]{0,20}\}|label\{[^{}]{0,40}\}|blacksquare|square|Box|qed)|\\[,;!\s]|\\\\|[\s.,;:&])+$"
)
RELATION = re.compile(r"\\(?:begin|end)\b|\\[^a-zA-Z]|\\approx(?![a-zA-Z])|[(){}=\u2248]", re.DOTALL)
ORDINARY_WORD = re.compile(r"(?<![A-Za-z\\])(?!(?:max|min|log|exp|sqrt|sin|cos|tan|choose)\b)[A-Za-z]{3,}")
COMMAND = re.compile(r"\\[A-Za-z]")
AS_TEXT = re.compile(r"\\(?:text|mathrm|mbox|operatorname)[a-z]{0,6}\*?\s?\{[^{}]{0,200}\}|\\(?:begin|end)\{[a-z*]{1,12}\}")


@dataclass(frozen=True)
class Formula:
    """A stretch of TeX: as it stands in the text, and without what encloses it."""

    whole: str
    inner: str


class Masked:
    """A text whose formulas are single characters, so that sentences can be told apart.

    Args:
        text: at most a few thousand characters.
    """

    def __init__(self, text: str):
        self.formulas: list[Formula] = []
        text = re.sub("[\ue000-\uf8ff]", " ", text)
        pieces, start, at = [], 0, 0
        while len(self.formulas) < MOST and (found := SPAN.search(text, at)):
            inner = next(group for group in (found[1], found[2], found[3], found[4], found[6]) if group is not None)
            if found[6] is not None and not _is_tex(inner):  # the dollar is money
                at = found.start() + 1
                continue
            pieces += [text[start : found.start()], chr(FIRST_MARK + len(self.formulas))]
            self.formulas.append(Formula(found[0], inner))
            start = at = found.end()
        self.text = "".join([*pieces, text[start:]])

    def among(self, text: str) -> list[tuple[int, Formula]]:
        """Return the formulas in a part of the masked text with the place of each."""
        return [(place, self.formulas[ord(letter) - FIRST_MARK]) for place, letter in enumerate(text) if is_mark(letter)]

    def unmasked(self, text: str, inner: bool = True) -> str:
        """Return a part of the masked text with its formulas, without what encloses them unless ``inner`` is False."""
        for mark in set(filter(is_mark, text)):
            formula = self.formulas[ord(mark) - FIRST_MARK]
            text = text.replace(mark, formula.inner.strip() if inner else formula.whole)
        return text


def is_mark(letter: str) -> bool:
    """Return whether a character of a masked text stands for a formula."""
    return FIRST_MARK <= ord(letter) < FIRST_MARK + MOST


def _is_tex(text: str) -> bool:
    return not ORDINARY_WORD.search(AS_TEXT.sub("", text))


def value(formula: str) -> str:
    """Return what a formula comes to: what stands behind its last equals sign, in the last of several rows."""
    formula = TRAILING.sub("", formula)
    if block := ROW_BLOCK.fullmatch(formula):
        rows = [row for row in re.split(r"\\\\(?:\[[^\]\n]{0,12}\])?", block[2]) if row.strip(" &\n\t")]
        formula = TRAILING.sub("", rows[-1].replace("&", " ") if rows else "")
    _, sign, right = split_at_equals(formula)
    return right.strip() if sign and right.strip() else formula.strip()


def split_at_equals(formula: str) -> tuple[str, str, str]:
    """Split a formula at its last equals sign outside brackets; what is nearly equal counts where nothing is equal."""
    depth, equal, nearly = 0, None, None
    for found in RELATION.finditer(formula):
        what = found[0]
        if what in "({" or what == r"\begin":
            depth += 1
        elif what in ")}" or what == r"\end":
            depth = max(0, depth - 1)
        elif depth == 0 and what == "=" and formula[found.start() - 1 : found.start()] not in ("<", ">", "!"):
            equal, nearly = found, None
        elif depth == 0 and (what == "\u2248" or what == r"\approx"):
            nearly = nearly or found
    stop = nearly.start() if equal and nearly else len(formula)
    sign = equal or nearly
    if sign is None:
        return formula, "", ""
    return formula[: sign.start()], sign[0], formula[sign.end() : stop]


def bare_formula(sentence: str) -> str | None:
    r"""Return the last formula of a sentence that only its TeX commands tell from words, as in "is 3\sqrt{2}", or None."""
    words = sentence.split(" ")
    core = next((number for number in reversed(range(len(words))) if COMMAND.search(words[number])), None)
    if core is None:
        return None
    first = last = core
    while first > 0 and _is_formal(words[first - 1]):
        first -= 1
    while last + 1 < len(words) and _is_formal(words[last + 1]) and not words[last].endswith((".", ",")):
        last += 1
    return " ".join(words[first : last + 1]).strip(" .,;:?!*_") or None


def _is_formal(word: str) -> bool:
    if word in ("a", "A", "I") or len(word) > 200:
        return False
    return bool(COMMAND.search(word)) or not re.search(r"[A-Za-z\u00c0-\ufaff]{2}", word)
