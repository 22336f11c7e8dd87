"""Written reasoning in one piece, cut into steps: equations, sums of digits, lines or sentences."""

import re

EQUATION = re.compile(r"<<[^<>]*>>")
SEPARATORS = re.compile(r"[\s,;.]*")
DIGITS = re.compile(r"[\d\s+*()=-]+")
BARE = re.compile(r"[^\sA-Za-z]*\d[^\sA-Za-z]*=[^\sA-Za-z]*\d[^\sA-Za-z]*")  # 3*4=12
SENTENCE = re.compile(r"""(?<=[.!?])["')\]]*\s+(?=["'(\[]*(?:[A-Z0-9$]|\\[(\[a-zA-Z]))""")
UNFINISHED = re.compile(r"""(?:^|[\s("'])(?:Mr|Mrs|Ms|Dr|Prof|St|Jr|Sr|vs|e\.g|i\.e|Fig|Eq|approx)\.$|^\d{1,3}\.$""")


def cut(written: str) -> tuple[str, ...]:
    """Return the steps of a text, each as it stands there.

    A text of ``<<3*4=12>>`` and nothing else is cut into equations, blanks inside them kept; ``3*4=12 12+1=13`` too; digits
    (``1 7 0 + 0 3 1 2``, multiplication written out) before every plus; anything else into lines and those into sentences.

    >>> cut("<<3 * 4 = 12>> <<12+1=13>>")
    ('<<3 * 4 = 12>>', '<<12+1=13>>')
    >>> cut("1 7 0 + 0 3 1 2")
    ('1 7 0', '+ 0 3 1 2')
    >>> cut("Mr. Li has 3.5 kg. He buys 4.")
    ('Mr. Li has 3.5 kg.', 'He buys 4.')
    """
    if is_equations(written):
        return tuple(EQUATION.findall(written))
    words = written.split()
    if words and all(BARE.fullmatch(word) for word in words):
        return tuple(words)
    if DIGITS.fullmatch(written):
        return tuple(part.strip() for part in re.split(r"(?=\+)", written) if part.strip())
    return tuple(sentence for line in written.splitlines() if line.strip() for sentence in _sentences(line.strip()))


def is_equations(written: str) -> bool:
    """Return whether a text is nothing but ``<<...>>``, or blank."""
    return SEPARATORS.fullmatch(EQUATION.sub("", written)) is not None and (not written.strip() or "<<" in written)


def _sentences(line: str) -> list[str]:
    """Return the sentences of a line; "Mr." and the "1." of a list end none."""
    sentences, start = [], 0
    for gap in SENTENCE.finditer(line):
        end = gap.start() + len(gap.group().rstrip())
        if UNFINISHED.search(line[start:end]):
            continue
        sentences.append(line[start:end])
        start = gap.end()
    return [*sentences, line[start:]]
