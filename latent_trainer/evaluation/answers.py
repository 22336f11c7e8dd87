"""Finding the answer in what a model wrote, and comparing it with the reference."""

import logging
import re
from functools import lru_cache

from latent_trainer.errors import check_choice
from latent_trainer.evaluation import formulas, notation, workers

MAX_TAIL = 4_000  # characters from the end in which a flexible answer is looked for
MAX_UNORDERED = 4  # formulas of a set whose partner is searched for by comparing each with each
BOX = re.compile(r"\\(?:boxed|fbox)\s*\{")
STATED = re.compile(r"(?i)\banswer[ *]*(?:is|:|=)[ *:]*([^\s*:][^\n]*)")
MATHS = re.compile(r"\$\$([^$]+)\$\$|\$([^$\n]+)\$|\\\(([^\n]{1,300}?)\\\)|\\\[(.{1,300}?)\\\]", re.DOTALL)
SENTENCE_END = re.compile(r"\.(?:\s|$)|[;,]\s+[a-z]{2}|\s(?:because|since|so|which|where)\b")
ORDINARY_WORD = re.compile(r"(?<![A-Za-z\\])(?!(?:max|min|log|exp|sqrt|sin|cos|tan|choose)\b)[A-Za-z]{3,}")
WHOLE = r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?"
NUMBER = re.compile(rf"(?:(?<![\w.)])-)?(?:\\frac\{{-?\d+\}}\{{\d+\}}|{WHOLE}(?:/\d+)?)", re.ASCII)
VERDICT = re.compile(r"(?i)\b(?:yes|no)\b")

logger = logging.getLogger(__name__)


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


def is_equivalent(prediction: str | None, reference: str) -> bool:
    r"""Return whether two answers are the same; a missing answer equals nothing, and nothing a model writes raises.

    The same text and the same exact number are recognised at once. Other formulas go to a process of their own, where
    math-verify reads them and which is killed when it takes too long; an answer beyond the limits of
    `notation` and `formulas` equals its own copy only. What counts as the same:

    - numbers by their exact value: "1,000" and "1000.0", "1/2" and "0.5"; "0.333" is not 1/3, nothing is rounded;
    - a unit counts where both answers give one: "5 cm" equals "5" and "5 cm", not "5 m"; "\%" and "$" are units, so "12\%"
      equals "12" and not "0.12"; a name, too: "x = 5" equals "5", not "y = 5";
    - "(1, 2)" is ordered, "\{1, 2\}" is not; a list without brackets equals either; intervals keep their brackets;
    - formulas by their values; i to n are integers, log is the natural logarithm, capitals equal small letters.

    Args:
        prediction: an extracted answer, None where there was none.
        reference: the right answer.
    """
    if prediction is None or reference is None or not prediction.strip():
        return False
    if prediction.strip() == reference.strip():
        return True
    predicted, expected = notation.clean(prediction), notation.clean(reference)
    return bool(predicted and expected) and _same(predicted, expected)


def _same(predicted: str, expected: str) -> bool:
    if _same_at_once(predicted, expected):
        return True
    (name, predicted), (other_name, expected) = notation.named(predicted), notation.named(expected)
    (predicted, unit), (expected, other_unit) = notation.measured(predicted), notation.measured(expected)
    if (name and other_name and name != other_name) or (unit and other_unit and unit != other_unit):
        return False
    if _same_at_once(predicted, expected):
        return True
    if notation.number(predicted) is not None and notation.number(expected) is not None:
        return False
    if max(notation.depth(predicted), notation.depth(expected)) > notation.MAX_DEPTH:
        return False
    members, other_members = notation.parts(predicted), notation.parts(expected)
    if members or other_members:
        return _same_collection(members or ("", [predicted]), other_members or ("", [expected]))
    latex, other_latex = formulas.formula(predicted), formulas.formula(expected)
    return bool(latex and other_latex) and _same_formula(other_latex, latex)


def _same_at_once(predicted: str, expected: str) -> bool:
    """Return whether two cleaned answers are the same text or the same exact number."""
    if notation.compact(predicted) == notation.compact(expected):
        return True
    value = notation.number(predicted)
    return value is not None and value == notation.number(expected)


def _same_collection(predicted: tuple[str, list[str]], expected: tuple[str, list[str]]) -> bool:
    (kind, members), (other_kind, other_members) = predicted, expected
    if kind != other_kind and "" not in (kind, other_kind):
        return False
    if {kind, other_kind} <= {"", "{}", "cup"}:
        return _same_set(members, other_members)
    return len(members) == len(other_members) and all(map(_same, members, other_members))


def _same_set(predicted: list[str], expected: list[str]) -> bool:
    """Return whether every member has its equal on the other side."""
    rest = [one for one in predicted if not any(_same_at_once(one, other) for other in expected)]
    other_rest = [other for other in expected if not any(_same_at_once(one, other) for one in predicted)]
    if max(len(rest), len(other_rest)) > MAX_UNORDERED:
        return False
    return all(any(_same(one, other) for other in expected) for one in rest) and all(
        any(_same(one, other) for one in predicted) for other in other_rest
    )


def _same_formula(expected: str, predicted: str) -> bool:
    try:
        return _verdict(expected, predicted)
    except workers.WorkerError as error:
        logger.warning("a pair of formulas counts as not equal: %s", error)
        return False


@lru_cache(maxsize=10_000)  # a verdict is remembered, a worker that failed is not
def _verdict(expected: str, predicted: str) -> bool:
    return workers.ask(expected, predicted)
