"""Finding the answer in what a model wrote."""

import re

from latent_trainer.data.strict import AnswerForm, matching, until_end
from latent_trainer.data.template import Template, resolve_template
from latent_trainer.errors import check_choice
from latent_trainer.evaluation.amounts import ASSIGNED, last_amount, measured, numbers, spelled
from latent_trainer.evaluation.tex import ORDINARY_WORD, Masked, bare_formula, split_at_equals, value

MAX_BOXES = 50  # boxes, and statements of an answer, that are looked at
TRIMMED = " *_:!?\"'`"
MAX_LINE = 400  # characters of a line that says what the answer is
MAX_WORDS = 6  # of an answer that is no number
MAX_TAIL = 4_000  # characters from the end in which a flexible answer is looked for
NEXT_QUESTION = re.compile(
    r"^[^\S\n]*(?:#+ |\*\*)?(?:(?:next |new )?(?:question|problem)|q|human|user|instruction)\s?\d{0,3}(?:\*\*)?:",
    re.IGNORECASE | re.MULTILINE,
)
HASHES = re.compile(r"^[^\S\n]*####[^\S\n]*(\S?[-\u2212.\\$({\[]*\d[^\n]*|(?:yes|no)\b[^\n]*)", re.IGNORECASE | re.MULTILINE)
ANNOTATED = re.compile(r"<<[^<>\n]{0,200}>>(?=\s?[-\u2212$]?[\d.])")  # GSM8K's, its result behind it
ANNOTATION = re.compile(r"<<([^<>\n]{0,200})>>")
TAGGED = re.compile(r"<answer>\s*([^<>\n]{1,400}?)\s*(?:</answer>|\n|$)", re.IGNORECASE)
BOX = re.compile(r"\\(?:boxed|fbox|framebox)\s?(?:\{|(\d+|\w))")
BETWEEN_BOXES = re.compile(r"(?:[\s$,;}]|\\[()]|\\text\s?\{|\b(?:and|or|und|et)\b|\\?\w{1,3}(?:_\{?\w\}?)?\s?=)*")
STATED = re.compile(
    r"\b(?:answers(?:[ \t]+(?:to|for|of)\b[^.\n:=]{1,80}?)?[ \t*_]*(?:are|were)\b"
    r"|ans(?:wer)?(?:[ \t]+(?:to|for|of)\b[^.\n:=]{1,80}?)?[ \t*_\"']*"
    r"(?:(?:is|was|would be|should be|must be|equals|comes out to)\b|[:=]))",
    re.IGNORECASE,
)
FILLERS = re.compile(
    r"(?:[\s:*_=>\"']|(?:therefore|thus|hence|then|so|simply|just|about|approximately|indeed|clearly|exactly|obviously"
    r"|equal to|given by|now|finally)\b,?)+",
    re.IGNORECASE,
)
NO_STATEMENT = re.compile(
    r"(?:found|obtained|given|computed|calculated|determined|not|what|unknown|unclear|as follows|to be|in the form|based"
    r"|correct|wrong|incorrect|the (?:sum|number|amount|difference|product|total|result|same) (?:of|as))\b",
    re.IGNORECASE,
)
SENTENCE_END = re.compile(
    r"[.?!](?:[*_)\"'\u2019\u201d]{0,3}\s|[*_\"'\u201d]{0,3}$)|[\u3002\uff1f]|[;,]\s+(?!and\b|or\b)[a-z]{2}"
    r"|\s(?:because|since|so|which|where|as)\b|\sand\s(?:the|it|we|she|he|they|this|that)\b"
)
SENTENCES = re.compile(r"\n+|(?:(?<![\d)])!|[.?\u3002\u0964])[*_)\"'\u2019\u201d]{0,3}(?:\s+|$)|\u3002")
LABEL = re.compile(r"\s*(?:[-*\u2022>]\s+|\(?\d{1,2}[.)]\s+)(?=\S)|\s*(?:step|part|case)\s*\d+\s*[:.)-]\s*", re.IGNORECASE)
BOLD = re.compile(r"\*\*([^*\n]{1,200})\*\*(?!\s?:)")
REASON = re.compile(r"\bbecause\b|(?<!, )(?<!and )(?<!, but )\bsince\b", re.IGNORECASE)
VERDICT = re.compile(
    r"(?:^|[.?!:\n,]|\b(?:so|thus|therefore|hence)\b)[\s*_\"'($]{0,6}(?:\\text\{)?(yes|no)(?![\w-])"
    r"(?=[\s*_\"')}$]{0,6}(?:[.;:!\u2014]|,(?!\s*(?:wait|actually|that|this|not|correct|right|indeed))|$|\n|(?:because|since|as)\b))",
    re.IGNORECASE,
)
WORD_VERDICT = re.compile(r"\b(?:yes|no)\b", re.IGNORECASE)
PREMISE = re.compile(
    r"\b(?:let|since|with|if|given|when|because|as|using|where|for|at|suppose|assume|substitut\w+|setting|have)\s*$",
    re.IGNORECASE,
)
VARIABLE = re.compile(r"(?<![A-Za-z\\])(?!x\s?\d)[A-Za-z](?![A-Za-z])")
EQUALS = re.compile(r"(?<![<>!\u2260])=")
BOUND = re.compile(r"(?<![\d)\]}^=] )(?<![\w)\]}^])([a-z]\s?(?:[<>]=?|\u2264|\u2265)\s?[-\u2212]?\d[\d./]*)$")
GLUED = re.compile(r"\d[A-Za-z]|[A-Za-z]\^")  # what makes a letter a variable
MONEY_FIRST = re.compile(r"-?\\?\$\s?-?[\d.]")
UNITS = 3  # words behind a number that may be its unit


def extract_answer(
    text: str,
    mode: str = "strict",
    answer_prefix: str = "### ",
    answer_suffix: str = "",
    template: str | dict | Template | None = None,
) -> str | None:
    r"""Return the answer in a generated text, or None where there is none.

    Args:
        text: what the model wrote, with or without special tokens.
        mode: "strict" takes what stands behind the first answer prefix that has anything but a heading behind it. "flexible"
            takes, where there is no such line or only a piece of a formula on it, the first of these in the end of the text:
            a line ``#### answer``; what the last boxes hold; what is said to be the answer; a yes or no that opens a
            sentence; what the last sentence with a formula or a number comes to; the last yes or no. Dollars are money
            unless what they enclose is TeX.
        answer_prefix: what is written before the answer; empty where the prompt already ends with it.
        answer_suffix: what is written behind the answer.
        template: what the model was trained with, in place of prefix and suffix.
    """
    check_choice("mode", mode, ("strict", "flexible"))
    form = AnswerForm(answer_prefix, closing=answer_suffix) if template is None else resolve_template(template).form
    answer = form.find(text)
    if mode == "strict" or (answer is not None and _is_whole(answer, form, text)):
        return answer
    text = until_end(text)
    text = text.rpartition("</think>")[2].strip() or text
    own = next((text[: one.start()] for one in NEXT_QUESTION.finditer(text) if text[: one.start()].strip()), text)
    return _found(own[-MAX_TAIL:]) or (_found(text[-MAX_TAIL:]) if own != text else None) or answer


def _is_whole(answer: str, form: AnswerForm, text: str) -> bool:
    """Return whether what stands behind an answer prefix is an answer, and no piece of a sentence or a formula."""
    if form.closing.strip() not in text:
        return False
    dollars = answer.count("$") - bool(MONEY_FIRST.match(answer))
    return sum(map(answer.count, "([{")) == sum(map(answer.count, ")]}")) and dollars % 2 == 0


def _found(text: str) -> str | None:
    """Return what a text without answer prefix most plainly gives as its answer."""
    for marked in (HASHES, TAGGED):
        if found := marked.search(text):
            return found[1].strip()
    if boxed := _boxed(text):
        return boxed
    masked = Masked(ANNOTATION.sub(r"\1", ANNOTATED.sub("", text)))
    if stated := _stated(masked):
        return stated
    *_, verdict = [None, *VERDICT.finditer(masked.text)]
    if verdict:
        return verdict[1]
    for sentence in reversed(SENTENCES.split(masked.text)):
        answer = _of_sentence(sentence[LABEL.match(sentence).end() if LABEL.match(sentence) else 0 :], masked)
        if answer:
            return answer
    *_, word = [None, *WORD_VERDICT.finditer(text)]
    return word and word[0]


def _boxed(text: str) -> str | None:
    """Return what the last box holds, with those before it that only "and" and the like separate from it."""
    boxes: list[tuple[int, int, str]] = []
    for found in list(BOX.finditer(text))[-MAX_BOXES:]:
        end = found.end() if found[1] else matching(text, found.end(), "{")
        content = found[1] or text[found.end() : end].partition("\n" if end is None else "\0")[0].strip("$ .")
        if content:
            boxes.append((found.start(), end or len(text), content if end else content + "\0"))
    if not boxes:
        return None
    chosen = [boxes[-1]]
    for box in reversed(boxes[:-1]):
        between = text[box[1] : chosen[0][0]]
        joined = "\n" not in between or re.search(r"[,;]|\b(?:and|or)\b", between)
        if box[1] > chosen[0][0] or len(between) > 40 or not joined or not BETWEEN_BOXES.fullmatch(between):
            break
        chosen.insert(0, box)
    if chosen[-1][2].endswith("\0"):  # it stays open
        return chosen[-1][2].rstrip("\0")
    return ", ".join(dict.fromkeys(content for *_, content in chosen))


def _stated(masked: Masked) -> str | None:
    """Return what a text last says the answer is."""
    for found in reversed(list(STATED.finditer(masked.text))[-MAX_BOXES:]):
        rest = masked.text[found.end() :]
        fillers = FILLERS.match(rest)
        start = fillers.end() if fillers else 0
        line = rest[start : start + MAX_LINE].partition("\n")[0]
        if line and not NO_STATEMENT.match(line) and (answer := _statement(_clause(line), masked)):
            return answer
    return None


def _clause(line: str) -> str:
    """Return a line up to where its first sentence ends, or turns to something else; not within brackets."""
    for end in SENTENCE_END.finditer(line):
        before = line[: end.start()]
        if sum(map(before.count, "([{")) <= sum(map(before.count, ")]}")):
            return _bare(before)
    return _bare(line)


def _bare(text: str) -> str:
    """Return a text without quotes, emphasis and stops around it, and without a bracket that nothing in it opens."""
    text = text.strip(TRIMMED)
    for left, right in ("{}", "()", "[]"):
        if text.endswith(right) and text.count(right) > sum(map(text.count, "([{")) and left not in text:
            text = text.rstrip(right + TRIMMED)
    return text


def _statement(clause: str, masked: Masked) -> str | None:
    """Return the answer in what is said to be it."""
    formulas = masked.among(clause)
    if len(formulas) == 1 and len(clause) == 1:
        formula = formulas[0][1]
        left, sign, _ = split_at_equals(formula.inner)
        exact = sign not in ("", "=") and not VARIABLE.search(left)  # \sqrt{2} \approx 1.41
        plain = not sign or exact or (VARIABLE.search(left) and not re.fullmatch(r"\s*[A-Za-z]\s*", left))
        return formula.whole if plain and "\\begin" not in formula.inner else value(formula.inner)
    text = masked.unmasked(clause)
    words, found = ORDINARY_WORD.findall(text), numbers(text)
    if not found:
        return text if formulas or len(words) <= MAX_WORDS else None
    behind = text[found[0].end() :]
    if found[0].start() == 0 and len(found) == 1 and not VARIABLE.search(behind) and "=" not in behind:
        aside = behind.lstrip().startswith("(") or len(ORDINARY_WORD.findall(behind)) > UNITS
        return spelled(found[0]) if aside else text
    if words or ("=" in text and not VARIABLE.search(text.rpartition("=")[0])):
        if formulas or (re.search(r"\b(?:and|or)\b|,", text) and len(words) <= UNITS):
            return re.sub(r",\s+(?:and|or)\s+", ", ", text)
        return last_amount(text)
    return text


def _of_sentence(sentence: str, masked: Masked) -> str | None:
    """Return what a sentence comes to: of what it sets bold, a formula, what is right of an equals sign, a number."""
    reason = REASON.search(sentence)
    claimed = [spelled(one) for one in numbers(sentence[: reason.start()])] if reason else []
    if reason and (claimed or masked.among(sentence[: reason.start()])):
        worked_out = last_amount(sentence[reason.end() :])
        if worked_out in claimed:
            return worked_out
        sentence = sentence[: reason.start()]
    sentence = re.sub(r"[ \t]+", " ", sentence.replace("`", ""))
    for bold in reversed(BOLD.findall(sentence)):
        inner = masked.unmasked(bold)
        if not bold.rstrip().endswith(":") and not LABEL.match(bold + " ") and (numbers(inner) or masked.among(bold)):
            return _of_sentence(bold, masked)
    sentence = sentence.replace("**", "").strip(" .*_")
    formulas = [
        (place, formula)
        for place, formula in masked.among(sentence)
        if not PREMISE.search(sentence[:place]) and re.search(r"\d|\\[a-z]|[-+*/^=]|\w\w", formula.inner)
    ]
    if formulas:
        behind = sentence[formulas[-1][0] + 1 :]
        if "=" not in behind or not numbers(behind):
            return _of_formulas(sentence, formulas)
    bare = bare_formula(sentence)
    if bare:
        return value(bare)
    if bound := BOUND.search(sentence):
        return bound[1]
    if several := ASSIGNED.search(sentence):
        return ", ".join(spelled(one) for one in numbers(several[0]))
    left, sign, right = (part.strip() for part in EQUALS.sub("\0", sentence).rpartition("\0"))
    if sign and right and not ORDINARY_WORD.search(right) and not masked.among(right):
        if re.fullmatch("[A-Za-z]", right) and (turned := last_amount(left)):
            return turned  # 160 = y
        return measured(right, letters=2 if GLUED.search(left) else 1)
    return last_amount("".join(" " if masked.among(letter) else letter for letter in sentence))


def _of_formulas(sentence: str, formulas: list) -> str:
    """Return what the last formula comes to, and those before it that only "and" or a comma separates from it."""
    values = [value(formulas[-1][1].inner)]
    for (place, formula), (later, _) in zip(reversed(formulas[:-1]), reversed(formulas[1:]), strict=True):
        if not re.fullmatch(r"\s*(?:,|,?\s*and|,?\s*or)\s*", sentence[place + 1 : later]):
            break
        values.insert(0, value(formula.inner))
    return ", ".join(dict.fromkeys(values))
