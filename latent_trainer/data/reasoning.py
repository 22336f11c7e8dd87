"""Written reasoning in one piece, cut into steps: equations, sums of digits, lines or sentences."""

import re

EQUATION = re.compile(r"<<[^<>]*>>")
SEPARATORS = re.compile(r"[\s,;.]*")
DIGITS = re.compile(r"[\d\s+*()-]+")
SPACED = re.compile(r"(?:\s*[\d.(-][\d\s.()+*/-]*=\s*-?\d[\d.]*(?=\s|$))+\s*")  # 3 * 4 = 12 12 + 1 = 13
SPACED_ONE = re.compile(r"[\d.(-][\d\s.()+*/-]*=\s*-?\d[\d.]*(?=\s|$)")
BARE = re.compile(r"[^\sA-Za-z]*\d[^\sA-Za-z]*=[^\sA-Za-z]*\d[^\sA-Za-z]*")  # 3*4=12
SENTENCE = re.compile(r"""(?<=[.!?])["')\]]*\s+(?=["'(\[]*(?:[A-Z0-9$]|\\[(\[a-zA-Z]))""")
UNFINISHED = re.compile(
    r"""(?:^|[\s("'])(?:Mr|Mrs|Ms|Dr|Prof|St|Jr|Sr|vs|e\.g|i\.e|Fig|Eq|approx)\.$|^\d{1,3}\.$|\b(?:[A-Z]\.){2,}$"""
)
NUMBERED = re.compile(r"\bNo\.$")
DISPLAYS = ((r"\begin{", r"\end{"), (r"\[", r"\]"), ("[asy]", "[/asy]"))  # of TeX, and figures of MATH


def cut(written: str) -> tuple[str, ...]:
    """Return the steps of a text, each as it stands there.

    A text of ``<<3*4=12>>`` and nothing else is cut into equations, blanks inside them kept; ``3*4=12 12+1=13`` too; digits
    (``1 7 0 + 0 3 1 2``, multiplication written out) before every plus; anything else into lines and those into sentences,
    of which displayed formulas and figures are never cut.

    >>> cut("<<3 * 4 = 12>> <<12+1=13>>")
    ('<<3 * 4 = 12>>', '<<12+1=13>>')
    >>> cut("1 7 0 + 0 3 1 2")
    ('1 7 0', '+ 0 3 1 2')
    >>> cut("Mr. Li has 3.5 kg. He buys 4.")
    ('Mr. Li has 3.5 kg.', 'He buys 4.')
    >>> cut("3 * 4 = 12 12 + 1 = 13")
    ('3 * 4 = 12', '12 + 1 = 13')
    """
    if is_equations(written):
        return tuple(EQUATION.findall(written))
    words = written.split()
    if words and all(BARE.fullmatch(word) for word in words):
        return tuple(words)
    if SPACED.fullmatch(written):
        return tuple(SPACED_ONE.findall(written))
    if DIGITS.fullmatch(written):
        return tuple(part.strip() for part in re.split(r"(?=\+)", written) if part.strip())
    return tuple(sentence for line in _lines(written) for sentence in _sentences(line))


def is_equations(written: str) -> bool:
    """Return whether a text is nothing but ``<<...>>``, or blank."""
    return SEPARATORS.fullmatch(EQUATION.sub("", written)) is not None and (not written.strip() or "<<" in written)


def _lines(written: str) -> list[str]:
    """Return the lines of a text that are not blank; those of one display together."""
    lines: list[str] = []
    whole = not _is_open(written)  # else nothing tells where a display ends
    for line in filter(None, map(str.strip, written.splitlines())):
        if lines and whole and _is_open(lines[-1]):
            lines[-1] += f" {line}"
        else:
            lines.append(line)
    return lines


def _is_open(text: str) -> bool:
    """Return whether a display begins in a text and does not end."""
    text = text.replace("\\\\", "")  # \\\\[2pt] ends a line of a table
    return text.count("$$") % 2 == 1 or any(text.count(begin) > text.count(end) for begin, end in DISPLAYS)


def _sentences(line: str) -> list[str]:
    """Return the sentences of a line; "Mr." and the "1." of a list end none."""
    sentences, start = [], 0
    for gap in SENTENCE.finditer(line):
        end = gap.start() + len(gap.group().rstrip())
        before, after = line[start:end], line[gap.end() : gap.end() + 1]
        if UNFINISHED.search(before) or (NUMBERED.search(before) and after.isdigit()):
            continue
        if _is_open(before) and not _is_open(line):
            continue
        sentences.append(line[start:end])
        start = gap.end()
    return [*sentences, line[start:]]
