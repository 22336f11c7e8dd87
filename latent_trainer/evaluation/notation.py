r"""One spelling for the many ways to write an answer: Unicode and LaTeX, markup around it, brackets.

Everything here works on texts of bounded length and looks for no more than their outer structure.
"""

import re

from latent_trainer.evaluation.grading.symbols import ascii_text

MAX_CHARACTERS = 1_000  # a longer answer equals its own copy only, unless it is one number
MAX_LONG_NUMBER = 5_500
MAX_LAYERS = 20  # of markup
MAX_PARTS = 50  # members of a tuple, set or list
LONG_NUMBER = re.compile(r"\s*[-+]?(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]*)?\s*")

SPELLINGS = [
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\\(?:left|right|[bB]igg?[lr]?|displaystyle|textstyle|limits|nolimits)(?![A-Za-z])\.?", ""),
        (
            r"\\(?:begin|end)\s*\{(?:equation|align|aligned|alignat|gather|gathered|split|math|displaymath|multline)\*?\}",
            " ",
        ),
        (r"(?<=[0-9])(?:,\\!|\{,\}|\\[,;: ]|~)(?=[0-9]{3}(?![0-9]))", ""),
        (r"\$(?=\S)([^$]*[^$\s])\$(?![0-9])", r" \1 "),
        (r"(?<=[A-Za-z0-9])\*(?=\s*=)", r"^\\star "),
        (r"(?<!\\)\\!", ""),
        (r"(?<!\\)\\(?:[,;: ]|q?quad(?![A-Za-z]))|~", " "),
        (r"\{,\}", ","),
        (r"\\[dtc]frac(?![A-Za-z])", r"\\frac"),
        (r"\\[dt]binom(?![A-Za-z])", r"\\binom"),
        (r"\\lbrace(?![A-Za-z])", r"\\{"),
        (r"\\rbrace(?![A-Za-z])", r"\\}"),
        (r"\\(?:lvert|rvert|vert|mid)(?![A-Za-z])", "|"),
        (r"\\(?:lVert|rVert|Vert)(?![A-Za-z])", r"\\|"),
        (r"\^\s*\{?\s*(?:\\ast(?![A-Za-z])|\\star(?![A-Za-z])|\*(?!\*))\s*\}?", r"^\\star "),
        (r"\\(?:times|ast|cdotp|bullet)(?![A-Za-z])", r"\\cdot "),
        (r"(?<=[0-9])\s*[xX]\s*(?=10\s*\^)|(?<=[0-9])\s+[xX]\s+(?=\\?\$?[0-9.])", r"\\cdot "),
        (r"\+\s*/\s*-|\+-(?=\s*[0-9\\])", r"\\pm "),
        (r"\\degree(?![A-Za-z])", r"^\\circ "),
        (r"\\(?:leq|leqslant|leqq)(?![A-Za-z])|<=|=<", r"\\le "),
        (r"\\(?:geq|geqslant|geqq)(?![A-Za-z])|>=", r"\\ge "),
        (r"\\(?:neq|not\s*=)(?![A-Za-z])|!=", r"\\ne "),
        (r"\\(?:lt)(?![A-Za-z])", "<"),
        (r"\\(?:gt)(?![A-Za-z])", ">"),
        (r"\\(?:simeq|thickapprox|approxeq)(?![A-Za-z])|~=", r"\\approx "),
        (r"\\coloneqq(?![A-Za-z])|:=", "="),
        (r"\\varnothing(?![A-Za-z])|\\\{\s*\\\}|^\{\s*\}$", r"\\emptyset "),
        (r"\\var(epsilon|theta|phi|rho|sigma|kappa|pi)(?![A-Za-z])", r"\\\1 "),
        (r"\\(?:vec|boldsymbol|bm|mathbf|overrightarrow)\s*\{\s*(\\?[A-Za-z]+)\s*\}", r"\1 "),
        (r"\\operatorname\*?\s*\{(max|min|log|ln|exp|sin|cos|tan|gcd|lcm)\}", r"\\\1 "),
        (r"\\(?:mathrm|mathbf|mathit|textrm|textbf|textit|mbox|mathsf|textnormal|rm)(?=\s*\{)", r"\\text"),
        (r"\\text\s*\{\s*(?:and|or)\s*\}", " and "),
        (r",\s*(?:and|or)\s+(?=[-+\\0-9(\[{A-Za-z$€£₹])", ", "),
        (r"(?<![A-Za-z,][A-Za-z])\s+(?:and|or)\s+(?=[-+\\0-9(\[{A-Za-z$€£₹])", ", "),
        (r"(?<![0-9})])(?<![0-9})] )\\text\{([A-Za-z])\}|\\text\{(e)\}", r"\1\2"),
        (r"\\in(?![A-Za-z])", r"\\in "),
        (r"(?<![\\A-Za-z])(?:[Ii]nfinity|INFINITY|infty|[Ii]nf|INF)(?![A-Za-z_({])", r"\\infty "),
        (r"(?<![A-Za-z\\])(?:positive|plus) (?=\\infty)", ""),
        (r"(?<![A-Za-z\\])(?:negative|minus) (?=\\infty|[0-9])", "-"),
        (r"(?<=[(\[{,;])\s*\+\s*(?=\\infty|[0-9])", ""),
        (r"\*\*", "^"),
        (r"(?:\{\})?(?<![A-Za-z0-9])[_^]\s*\{?([0-9A-Za-z]+)\}?\s*C\s*_\s*\{?([0-9A-Za-z]+)\}?", r"\\binom{\1}{\2}"),
        (r"\{\s*([0-9A-Za-z]{1,9})\s*\\choose\s*([0-9A-Za-z]{1,9})\s*\}", r"\\binom{\1}{\2}"),
        (r"([_^])\{\s*([0-9A-Za-z])\s*\}", r"\1\2 "),
        (r"\(\s*mod\s+([0-9A-Za-z]+)\s*\)", r"\\pmod \1"),
        (r"\\(p|b)?mod\s*\{\s*([0-9A-Za-z]+)\s*\}", r"\\\1mod \2"),
    )
]
SCALES = {"hundred": 2, "thousand": 3, "million": 6, "billion": 9, "trillion": 12}
SCALED = re.compile(r"(?<=[0-9])\s+(hundred|thousand|million|billion|trillion)s?(?![A-Za-z])", re.IGNORECASE)
BARS = re.compile(r"\|\|([^|]+)\|\|")

QUOTES = {'"': '"', "'": "'", "“": "”", "„": "“", "‘": "’", "«": "»", "‹": "›", "”": "”", "’": "’", "「": "」", "`": "`"}
SPECIAL = (  # what ends or begins a text for a model
    r"<\|[^<>|\s]{1,40}\|>|<｜[^<>｜\s]{1,40}｜>|</?s>|<(?:eos|bos|pad|end_of_turn|end_of_text|eot|unk)>|\[(?:EOS|BOS|PAD|/INST)\]"
)
BEFORE = re.compile(
    rf"(?:{SPECIAL}|#{{1,6}}\s+|>\s+(?=\S)|[*•]\s+(?=\S)|=\s*(?![=<>])|\\approx(?![A-Za-z])|\+\s*(?![\s/-])|(?:\\therefore|∴)\s*)\s*"
    r"|[*_]{0,2}(?:(?:so|thus|hence|therefore),?\s+)?(?:the\s+|my\s+)?(?:final\s+|correct\s+)?(?:answer|result|solution|ans)"
    r"[*_]{0,2}\s*(?:\s(?:is|are|equals)(?![A-Za-z])\s*:?|:|=)[*_]{0,2}\s*",
    re.IGNORECASE,
)
BEHIND = re.compile(rf"(?:{SPECIAL}|[,;:?]|\\+|(?<![.])\.|\\qed|\\square|\\blacksquare|[□■∎])\s*\Z")
WRAPPERS = [
    re.compile(pattern, re.DOTALL)
    for pattern in (
        r"\*{1,3}([^*]+)\*{1,3}",
        r"\*\*((?:[^*]|\*(?!\*))+)\*\*",
        r"_{1,3}([^_]+)_{1,3}",
        r"`{1,3}(?:text|latex|math)?([^`]+)`{1,3}",
        r"\$\$([^$]+)\$\$",
        r"\$([^$]+)\$",
        r"\\\((.+)\\\)",
        r"\\\[(.+)\\\]",
        r"<(?:b|strong|i|em|u|code|answer|span|p|mark|div)>(.*)</(?:b|strong|i|em|u|code|answer|span|p|mark|div)>",
    )
]
ENCLOSED = re.compile(r"\\(?:boxed|fbox|text|mathrm|mathbf)\s*\{")
BOXED = re.compile(r"\\(?:boxed|fbox)\s+(?=[^\s{])|\\(?:boxed|fbox)(?=[0-9\\])")

BRACKETS = {"(": ")", "[": "]", "{": "}"}


def clean(text: str) -> str | None:
    r"""Return an answer in one spelling, without markup around it; None where it is longer than `MAX_CHARACTERS`.

    Args:
        text: an answer in plain text, Markdown, Unicode or LaTeX.
    """
    if len(text) > MAX_CHARACTERS:
        return text.strip() if len(text) <= MAX_LONG_NUMBER and LONG_NUMBER.fullmatch(text) else None
    for letter in QUOTES.keys() & {text.strip()[:1]}:
        text = text.strip()
        text = text[1:-1] if len(text) > 2 and text.endswith(QUOTES[letter]) else text
    text = ascii_text(text)
    if len(text) > MAX_CHARACTERS:  # one ligature may stand for a sentence
        return None
    text = " ".join(_bare(text).split())
    for pattern, replacement in SPELLINGS:
        text = pattern.sub(replacement, text)
    text = SCALED.sub(lambda found: rf" \cdot 10^{{{SCALES[found[1].lower()]}}}", text)
    text = BARS.sub(lambda found: _norm(found, text), text)
    if "&" in text and "\\begin" not in text:
        text = text.replace("&", " ")
    text = " ".join(_bare(" ".join(text.split())).split())
    return text if len(text) <= 4 * MAX_CHARACTERS else None


def _norm(found: re.Match, text: str) -> str:
    r"""Write ``||x||`` as ``\|x\|``, unless the bars are the ends of two absolute values."""
    return found[0] if text.count("|", 0, found.start()) % 2 else rf"\|{found[1]}\|"


def _bare(text: str) -> str:
    """Take the markup around an answer off, layer by layer."""
    for _ in range(MAX_LAYERS):
        before, text = text, _unwrapped(text.strip())
        if text == before:
            break
    return text


def _unwrapped(text: str) -> str:
    """Take one layer off: what leads to an answer or ends it, emphasis, quotes, maths delimiters, a box."""
    for wrapper in WRAPPERS:
        if found := wrapper.fullmatch(text):
            return found[1].strip()
    if (found := BEFORE.match(text)) and found.end() < len(text):
        return text[found.end() :]
    if (found := BOXED.match(text)) and found.end() < len(text):
        return text[found.end() :]
    if (found := BEHIND.search(text, max(0, len(text) - 60))) and not text.endswith(("..", r"\|")):
        return text[: found.start()].rstrip()
    if len(text) > 2 and QUOTES.get(text[0]) == text[-1] and text[0] not in text[1:-1]:
        return text[1:-1]
    if (found := ENCLOSED.match(text)) and closing(text, found.end() - 1) == len(text) - 1:
        return text[found.end() : -1].strip()
    return text


def closing(text: str, start: int) -> int | None:
    """Return the index of the bracket that closes the one at ``start``, None where it stays open."""
    left, right, level = text[start], BRACKETS[text[start]], 0
    for index in range(start, len(text)):
        level += (text[index] == left) - (text[index] == right)
        if level == 0:
            return index
    return None


def depth(text: str) -> int:
    """Return how deeply brackets of any kind are nested."""
    deepest = now = 0
    for letter in text:
        now += (letter in "([{") - (letter in ")]}")
        deepest = max(deepest, now)
    return deepest


def compact(text: str) -> str:
    """Return a cleaned answer as a key: without spaces that separate nothing; letters alone in lower case."""
    text = re.sub(r" (?![0-9A-Za-z])|(?<![0-9A-Za-z]) ", "", text)
    return text.casefold() if re.fullmatch(r"[A-Za-z][A-Za-z' -]*", text) else text


def split(text: str, separator: str) -> list[str]:
    r"""Split at separators outside brackets; one piece where brackets do not match or there are too many members."""
    pieces, level, start, index = [], 0, 0, 0
    while index < len(text):
        level += (text[index] in "([{") - (text[index] in ")]}")
        if level < 0:
            return [text]
        if level == 0 and text.startswith(separator, index):
            pieces.append(text[start:index].strip())
            start = index + len(separator)
        index += 1
    pieces.append(text[start:].strip())
    return pieces if level == 0 and all(pieces) and len(pieces) <= MAX_PARTS else [text]
