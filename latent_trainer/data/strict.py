"""Strict extraction: the answer of a text in the form a template gives it, found by what stands around it."""

import re
from dataclasses import dataclass
from functools import lru_cache

BRACKETS = {"(": ")", "[": "]", "{": "}"}
MAX_MARKS = 50  # answer prefixes of one text that are looked behind
MAX_BRACKETED = 4_000  # characters in which the end of a bracket is looked for
MAX_HEADING = 100  # characters of a heading, and of the words that lead to an answer
END_OF_TEXT = re.compile(
    r"<[|\uff5c](?:(?:im_)?end|eo[tm]_id|eos|return|call|pad|im_start|start_(?:of_turn|header_id)|user|assistant)"
    r"[^<>|\uff5c\s]{0,24}[|\uff5c]>"
    r"|<(?:/s|eos|pad|(?:start|end)_of_turn|end_of_utterance|\|turn|turn\|)>|\[(?:eos|pad|/?inst)\]",
    re.IGNORECASE,
)
LEAD = re.compile(
    r"[\s*_#]*(?:(?:so|thus|hence|therefore),?\s+)?(?:(?:the|my|our)\s+)?(?:(?:final|correct|right)\s+)?"
    r"(?:answer[\s*_]*(?:is\b|[:=]|$)|(?:result|solution)[\s*_]*:)[\s*_:]*",
    re.IGNORECASE,
)
HEADING = re.compile(
    r"[\s*_]*(?:(?:step|part|case|stage)\s*\d+\b.*|(?:step[- ]by[- ]step )?solution|explanation|reasoning|analysis"
    r"|calculations?|steps?|conclusion|approach|.*:)[\s*_:]*",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class AnswerForm:
    """What stands around an answer.

    Args:
        prefix: text between the reasoning and the answer.
        opening, closing: text right before and behind the answer; the answer may itself hold the bracket that ends it.
        given: whether the prompt ends with the prefix, so that a text begins with the answer.
        place: where the prefix stands: at the start of a "line"; behind a blank ("word"), or "anywhere", as the last on
            its line, since the reasoning on that line may hold it, too.
        end_of_thought: what is searched stands behind it, where a text holds it.
    """

    prefix: str
    opening: str = ""
    closing: str = ""
    given: bool = False
    place: str = "line"
    end_of_thought: str = "</think>"

    def find(self, text: str) -> str | None:
        """Return the answer in a text, None where there is none.

        The first answer counts, whatever question a model goes on to invent. A prefix with nothing behind it, or a heading,
        is passed over; the line below "Answer", or below a bare prefix where no other has an answer, is one.

        Args:
            text: what the model wrote, with or without special tokens.
        """
        text = until_end(text)
        if not self.given or text.lstrip().startswith("<think>"):
            text = self._behind_thought(text)
        below = heading = None
        for start, stop in self._marks(text):
            content = self._content(text, start, stop)
            lead = LEAD.match(content[:MAX_HEADING])
            if lead:
                content = content[lead.end() :].strip(" *")
            if not content:
                under = self._below(text, stop)
                if lead and under:
                    return under
                below = below or under
            elif len(content) <= MAX_HEADING and HEADING.fullmatch(content):
                heading = heading or content
            else:
                return content
        return below or heading

    def _behind_thought(self, text: str) -> str:
        for mark in (self.end_of_thought, "</think>"):
            if mark and mark not in self.prefix + self.opening:
                rest = text.partition(mark)[2]
                text = rest if rest.strip() else text
        return text

    def _marks(self, text: str) -> list[tuple[int, int]]:
        """Return where answers may start, and where they stop at the latest."""
        whole = (self.prefix + self.opening).strip()
        if self.given or not whole:
            start = len(text) - len(text.lstrip())
            again = _patterns(whole, "anywhere")[0].search(text) if whole and self.closing.strip() else None
            if again and not self._closes(text, start, again.start()):  # the prompt with its thought is part of the text
                start = again.end()
            else:
                start += _written_again(whole, self.opening.strip(), text[start:])
            return [(start, _line_end(text, start))]
        spoken = whole.replace(self.end_of_thought, "").strip()  # decoding leaves special tokens out
        for mark in filter(None, dict.fromkeys((whole, spoken, self.prefix.strip()))):
            anywhere, placed = _patterns(mark, self.place)
            if self.place == "line" and (found := _first(placed.finditer(text))):
                spans = [(one.end(), _line_end(text, one.end())) for one in found]
                again = [anywhere.search(text, *span) for span in spans]
                return [(start, other.start() if other else stop) for (start, stop), other in zip(spans, again, strict=True)]
            for pattern in (placed, anywhere):
                if spans := _last_of_lines(pattern, text):
                    return spans
        return []

    def _closes(self, text: str, start: int, stop: int) -> bool:
        """Return whether an answer that begins at ``start`` is closed before ``stop``."""
        opened = (self.prefix + self.opening).strip()[-1:]
        if BRACKETS.get(opened) != self.closing.strip()[0]:
            return self.closing.strip() in text[start:stop]
        end = matching(text, start, opened)
        return end is not None and end < stop

    def _content(self, text: str, start: int, stop: int) -> str:
        """Return what stands between a prefix and what closes the answer."""
        line, closing = text[start:stop].strip(), self.closing.strip()
        opened = (self.prefix + self.opening).strip()[-1:]
        if not closing:
            return line
        if BRACKETS.get(opened) == closing[0]:
            end = matching(text, start, opened)
            inner = None if end is None else " ".join(text[start:end].split("\n")).strip()
            if inner is not None and (_is_balanced(inner) or not line.endswith(closing)):
                return inner
            return line.removesuffix(closing).strip()
        end = re.search(re.escape(closing) + (r"(?!\S)" if len(closing) == 1 else ""), line)
        return line[: end.start()].strip() if end else line

    def _below(self, text: str, stop: int) -> str | None:
        """Return what the next line with something on it says, None where that is another prefix."""
        rest = text[stop:].lstrip()
        mark = self.prefix.strip()
        if not rest or (mark and rest.startswith(mark)):
            return None
        start = len(text) - len(rest)
        return self._content(text, start, _line_end(text, start)) or None


def until_end(text: str) -> str:
    """Return a text up to the first special token that ends it; those it begins with are taken off."""
    start = 0
    for found in END_OF_TEXT.finditer(text):
        if text[start : found.start()].strip():
            return text[start : found.start()]
        start = found.end()
    return text[start:]


def matching(text: str, start: int, left: str) -> int | None:
    """Return where the bracket opened right before ``start`` closes, None where it does not; escaped ones are text."""
    depth, right, escaped = 1, BRACKETS[left], False
    for index in range(start, min(len(text), start + MAX_BRACKETED)):
        letter = text[index]
        if escaped:
            escaped = False
        elif letter == "\\":
            escaped = True
        elif letter in (left, right):
            depth += 1 if letter == left else -1
            if depth == 0:
                return index
    return None


def _is_balanced(text: str) -> bool:
    """Return whether as many brackets open as close, of whatever kind: half-open intervals mix them."""
    return sum(text.count(left) for left in BRACKETS) == sum(text.count(right) for right in BRACKETS.values())


def _line_end(text: str, start: int) -> int:
    end = text.find("\n", start)
    return len(text) if end < 0 else end


def _last_of_lines(pattern: re.Pattern, text: str) -> list[tuple[int, int]]:
    """Return where the last match of each of the first lines that have one ends, and where that line does."""
    spans: list[tuple[int, int]] = []
    for found in pattern.finditer(text):
        if spans and found.end() <= spans[-1][1]:
            spans[-1] = (found.end(), spans[-1][1])
        elif len(spans) == MAX_MARKS:
            break
        else:
            spans.append((found.end(), _line_end(text, found.end())))
    return spans


def _first(found) -> list[re.Match]:
    return [one for _, one in zip(range(MAX_MARKS), found, strict=False)]


@lru_cache(maxsize=256)
def _patterns(mark: str, place: str) -> tuple[re.Pattern, re.Pattern]:
    """Return what finds a mark anywhere, and only in its place; blanks within it may be of any kind."""
    pattern = r"\s+".join(map(re.escape, mark.split()))
    if set(mark) == {"#"}:
        pattern = "#" * len(mark) + "+"  # a heading of another level is meant alike
    before = {"line": r"^[^\S\n]*", "word": r"(?<!\S)", "anywhere": ""}[place]
    return re.compile(pattern), re.compile(before + pattern, re.MULTILINE)


def _written_again(whole: str, opening: str, text: str) -> int:
    """Return the length of what a text repeats of the end of its prompt, whole words of it, and of the answer's opening."""
    tails = [whole[start:] for start in range(len(whole)) if start == 0 or whole[start - 1].isspace()]
    for tail in [*tails, opening]:  # a bracket alone may be the answer's own
        found = _patterns(tail, "anywhere")[0].match(text) if tail.strip() and tail not in BRACKETS else None
        if found and not (tail[-1].isalnum() and text[found.end() : found.end() + 1].isalnum()):
            return found.end()
    return 0
