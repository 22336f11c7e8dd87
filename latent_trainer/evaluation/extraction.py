"""Finding the answer in what a model wrote."""

import re

from latent_trainer.errors import check_choice
from latent_trainer.evaluation import notation

MAX_TAIL = 4_000  # characters from the end in which a flexible answer is looked for
BOX = re.compile(r"\\(?:boxed|fbox)\s*\{")
STATED = re.compile(r"(?i)\banswer[ *]*(?:is|:|=)[ *:]*([^\s*:][^\n]*)")
MATHS = re.compile(r"\$\$([^$]+)\$\$|\$([^$\n]+)\$|\\\(([^\n]{1,300}?)\\\)|\\\[(.{1,300}?)\\\]", re.DOTALL)
SENTENCE_END = re.compile(r"\.(?:\s|$)|[;,]\s+[a-z]{2}|\s(?:because|since|so|which|where)\b")
ORDINARY_WORD = re.compile(r"(?<![A-Za-z\\])(?!(?:max|min|log|exp|sqrt|sin|cos|tan|choose)\b)[A-Za-z]{3,}")
WHOLE = r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?"
NUMBER = re.compile(rf"(?:(?<![\w.)])-)?(?:\\frac\{{-?\d+\}}\{{\d+\}}|{WHOLE}(?:/\d+)?)", re.ASCII)
VERDICT = re.compile(r"(?i)\b(?:yes|no)\b")


def extract_answer(text: str, mode: str = "strict", answer_prefix: str = "### ") -> str | None:
    r"""Return the answer in a generated text, or None where there is none.

    Args:
        text: what the model wrote, special tokens removed.
        mode: "strict" takes the rest of the line after the last answer prefix. "flexible" takes, where there is no such
            line, the first of these in the end of the text: what the last ``\boxed{...}`` holds; the rest of the sentence
            after the last "answer is" or "answer:"; the last formula between maths delimiters, after its last equals sign;
            what the last line says is equal, where no words follow; the last number; the last yes or no.
        answer_prefix: the template's prefix; empty where the prompt already ends with it.
    """
    check_choice("mode", mode, ("strict", "flexible"))
    prefix = answer_prefix.strip()
    _, found, rest = text.rpartition(prefix) if prefix else ("", True, text)
    lines = rest.strip().splitlines()
    if found and lines and lines[0].strip():
        return lines[0].strip()
    return _found(text[-MAX_TAIL:]) if mode == "flexible" else None


def _found(text: str) -> str | None:
    """Return what a text without answer prefix most plainly gives as its answer."""
    *_, box = [None, *BOX.finditer(text)]
    end = box and notation.closing(text, box.end() - 1)
    if end and text[box.end() : end].strip():
        return text[box.end() : end].strip()
    *_, stated = [None, *STATED.finditer(text)]
    if stated and (answer := SENTENCE_END.split(stated[1], maxsplit=1)[0].strip(" *:")):
        return answer
    *_, maths = [None, *MATHS.finditer(text)]
    if maths and (answer := _right_side(next(group for group in maths.groups() if group))):
        return answer
    last = (text.rstrip().splitlines() or [""])[-1].strip(" .*")
    if "=" in last and (answer := _right_side(last)) and not ORDINARY_WORD.search(answer):
        return answer
    *_, number = [None, *NUMBER.finditer(text)]
    *_, verdict = [None, *VERDICT.finditer(text)]
    return number[0] if number else verdict and verdict[0]


def _right_side(text: str) -> str:
    return text.rpartition("=")[2].strip()
