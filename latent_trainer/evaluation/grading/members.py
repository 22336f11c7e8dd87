r"""Answers of several members: lists, sets, tuples, intervals, unions, plus or minus, matrices."""

import re

from latent_trainer.evaluation.notation import BRACKETS, MAX_PARTS, closing, split

OUTWARD = re.compile(r"([\[\]])([^\[\]]*[,;][^\[\]]*)([\[\]])")
SIGNS = re.compile(r"\\(?:pm|mp)(?![A-Za-z])\s*")
MATRIX = re.compile(
    r"\\begin\s*\{([pbBvV]?|small)(?:matrix|array)\}\s*(?:\{[lcr|]*\})?(.*?)\\end\s*\{\1(?:matrix|array)\}", re.DOTALL
)
ROW_END = re.compile(r"\\\\(?:\s*\[-?[0-9.]+\s*(?:pt|em|ex|mm|cm)\])?")  # with the space it may leave
TRANSPOSED = re.compile(r"\^\s*\{?\s*(?:\\(?:text|mathsf|mathrm|rm)\s*\{?\s*T\s*\}?|T|\\top|\\intercal)\s*\}?")

Collection = tuple[str, list[str]]


def collection(text: str) -> Collection | None:
    r"""Return what kind of collection an answer is and its members, None where it is none.

    Kinds are the brackets of tuples and intervals ("()", "[]", "(]", "[)"), "{}" for a set, "" for a list without brackets,
    "cup" for a union, "matrix" with rows as members, "det" for a determinant.

    Args:
        text: a cleaned answer without relations; numbers hold no commas.
    """
    if "\\begin" in text:
        return _matrix(text)
    pieces = split(text, r"\cup")
    if len(pieces) > 1:
        return "cup", pieces
    for separator in (";", ","):
        pieces = split(text, separator)
        if len(pieces) > 1:
            return "", [one for piece in pieces for one in signed(piece)][: MAX_PARTS + 1]
    if (found := OUTWARD.fullmatch(text)) and (found[1] == "]" or found[3] == "["):
        text = ("(" if found[1] == "]" else "[") + found[2] + (")" if found[3] == "[" else "]")
    if len(pieces := signed(text)) > 1:
        return "", pieces
    return _bracketed(text)


def _bracketed(text: str) -> Collection | None:
    if (found := TRANSPOSED.search(text)) and found.end() == len(text) and text[: found.start()].rstrip()[-1:] in (")", "]"):
        row = _bracketed(text[: found.start()].rstrip())
        return row and ("matrix", [f"({member},)" for member in row[1]])
    inner = text.replace(r"\{", "{").replace(r"\}", "}")
    left, right = inner[:1], inner[-1:]
    if left not in BRACKETS or right not in (")", "]", "}") or (left == "{") != (right == "}"):
        return None
    for separator in (";", ","):
        pieces = split(inner[1:-1], separator)
        if len(pieces) > 1 or left == "{":
            if left == "{" and len(pieces) == 1 and separator == ";" and "," in inner:
                continue
            if left == "{":
                pieces = [one for piece in pieces for one in signed(piece)]
            return left + right, pieces
    return None


def signed(text: str) -> list[str]:
    r"""Return both values of an answer with ``\pm``, else the answer alone."""
    if not SIGNS.search(text):
        return [text]
    both = []
    for plus in ("+", "-"):
        minus = "-" if plus == "+" else "+"
        one = SIGNS.sub(lambda found, plus=plus, minus=minus: plus if found[0].startswith(r"\pm") else minus, text)
        both.append(re.sub(r"(^|[(\[{,=])\s*\+\s*", r"\1", one).strip())
    return both


def _matrix(text: str) -> Collection | None:
    r"""Return the rows of a matrix, each ``(a,b,)``; a factor before it goes into its cells, ``^T`` behind it turns it."""
    found = MATRIX.search(text)
    if found is None or text.count("\\begin") != 1:
        return None
    before, behind = text[: found.start()].strip(), text[found.end() :].strip()
    rows = [[cell.strip() for cell in row.split("&")] for row in ROW_END.split(found[2]) if row.strip()]
    if not rows or len({len(row) for row in rows}) > 1 or sum(map(len, rows)) > MAX_PARTS or not all(map(all, rows)):
        return None
    if found[1] in ("v", "V") or before[-1:] == "|":
        return ("det", [_row(row) for row in rows]) if not before.strip("|") and not behind.strip("|") else None
    if (before[-1:], behind[:1]) in (("(", ")"), ("[", "]")):
        before, behind = before[:-1].strip(), behind[1:].strip()
    if TRANSPOSED.fullmatch(behind):
        rows, behind = [list(row) for row in zip(*rows, strict=True)], ""
    if behind or before.endswith(("+", "/", "^")) or "=" in before:
        return None
    if factor := before.removesuffix(r"\cdot").strip():
        rows = [[f"-({cell})" if factor == "-" else f"({factor})({cell})" for cell in row] for row in rows]
    return "matrix", [_row(row) for row in rows]


def _row(cells: list[str]) -> str:
    return "(" + ",".join(cells) + ",)"


def row(text: str) -> list[str]:
    """Return the cells of a row that `collection` has written."""
    return split(text[1:-2], ",")


def shape(members: Collection) -> Collection:
    """Return a collection as it is compared: a column is the tuple of its cells, a list of lists a matrix."""
    kind, rows = members
    if kind == "matrix" and all(len(row(one)) == 1 for one in rows):
        return "()", [row(one)[0] for one in rows]
    if kind == "[]" and all(one.startswith("[") and closing(one, 0) == len(one) - 1 for one in rows):
        return "matrix", [f"({one[1:-1]},)" for one in rows]
    return members
