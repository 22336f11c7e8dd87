"""Numbers in running text as people write them: signs, currencies, groups, fractions, powers of ten, any script's digits."""

import re
import unicodedata

NUMBER = re.compile(
    r"""
    (?<![A-Za-z^_\d])(?<!\^\{)(?<!\d[.,:])
    (?P<sign>(?<![\w.)\]}%$])[-\u2212\u2013])?
    (?P<currency>\\?[$€£¥₹]\ ?)?
    (?P<inner>(?<=[$€£¥₹])[-\u2212])?
    (?P<body>
        (?P<units>\d+\s*)?\\[dtc]?frac\s*(?:\{\s*(?P<a>[-\u2212]?\d+)\s*\}\s*\{\s*(?P<b>\d+)\s*\}|(?P<c>\d)\s?(?P<d>\d))
      | (?P<mixed>\d+\s?)?(?P<vulgar>[\u00bc-\u00be\u2150-\u215e])
      | (?P<plain>
            (?:\d{1,3}(?:(?:,|\{,\}|\\,|[\u066c\u00a0\u2009\u202f'\u2019])\d{3})+(?!\d)|\d{1,2}(?:,\d{2})+,\d{3}(?!\d)|\d+)
            (?:[.\u066b]\d+)?
          | (?<!\w)\.\d+
        )
        (?:
            (?:\s?(?:[x*\u00d7\u00b7]|\\times|\\cdot)\s?10\s?(?:\^|\*\*)\s?\{?(?P<power>[-\u2212+]?\d+)\}?)
          | [eE](?P<exponent>[-+\u2212]?\d+)(?![\w.])
          | (?:\^|\*\*)\{?(?P<raised>\d+)\}?
          | (?P<factorial>!)(?=\s+[a-z]|\s?[-+*/=)])
          | (?P<rest>\ \d+/\d+(?![\d/]) | /\d+(?:\.\d+)? | (?::\d\d?)+)
        )?
    )
    """,
    re.VERBOSE,
)
ORDINAL = re.compile(r"(?:st|nd|rd|th)\b")
ITEM = (
    r"\s?[-\u2212+]?\s?\$?(?:(?:\d{1,20}(?:\.\d{1,20})?|\.\d{1,20})(?:/\d{1,20})?"
    r"|\\infty|\u221e|inf(?:inity)?|\\[dt]?frac\{\d{1,9}\}\{\d{1,9}\}|[a-z])\s?"
)
ONE = rf"(?:\\?\{{{ITEM}(?:,{ITEM}){{0,50}}\\?\}}|[(\[]{ITEM}(?:,{ITEM}){{1,50}}[)\]])"
COLLECTION = re.compile(  # of numbers; of tuples; a union
    rf"(?<![\w\\)\]}}^_])(?:[\[{{](?:\s?{ONE}\s?,?){{1,20}}[\]}}]|{ONE}(?:\s?(?:\u222a|\\cup|U)\s?{ONE}){{0,10}})"
)
LIST = re.compile(rf"{ITEM}(?:,{ITEM}){{1,50}}")
ASSIGNED = re.compile(rf"(?<![\w)])[a-z] ?={ITEM}(?:(?:,|;|and|, and) ?[a-z] ?={ITEM}){{1,9}}$")  # x = 2 and y = 3
AT_THE_END = re.compile(
    r"[,;]?\s+(?:in|for|after|during|over|within|per|every|from|on)\s+(?:(?:the|those|these|a|all|her|his|their|its|first|last|next"
    r"|other|every|each|another)\s+)*$"
)
SPACED = re.compile(r"\$? ?(\d{1,3}(?: \d{3})+)")
UNIT = re.compile(r"\s?(?:[$\u20ac\u00a3\u00a5\u20b9]|%(?: of .{1,20})?|[A-Za-z][A-Za-z. ]{0,12})?")
PUT_OTHERWISE = re.compile(r"\b(?:which|that)\s+(?:is|equals|makes|means|rounds|comes|amounts)\b", re.IGNORECASE)
IN_ALL = re.compile(
    r"\s*(?:\w+\s+){0,3}(?:in all|in total|altogether|left|remain(?:ing)?|total(?=\s*(?:[.,;]|$)))\b", re.IGNORECASE
)


def numbers(text: str) -> list[re.Match]:
    """Return the numbers of a text, those of "3rd" and the like left out where there are others."""
    found = list(NUMBER.finditer(text))
    return [one for one in found if not ORDINAL.match(text, one.end()) or text[: one.start()].endswith(("= ", "="))] or found


def spelled(number: re.Match) -> str:
    """Return a number of a text in ASCII, without currency: "-5" for "-$5", "1.2e3" for "1.2 x 10^3", "2 1/2" for "2½"."""
    sign = "-" if number["sign"] or number["inner"] else ""
    if number["vulgar"]:
        return (
            sign
            + f"{_ascii(number['mixed'] or '').strip()} {_ascii(unicodedata.normalize('NFKC', number['vulgar']))}".strip()
        )
    if number["plain"] is None:
        units = f"{_ascii(number['units']).strip()} " if number["units"] else ""
        return sign + units + _ascii(f"{number['a'] or number['c']}/{number['b'] or number['d']}")
    plain = _ascii(number["plain"])
    plain = "0" + plain if plain.startswith(".") else plain
    if power := number["power"] or number["exponent"]:
        return f"{sign}{plain}e{_ascii(power)}"
    if number["raised"]:
        return f"{sign}{plain}^{_ascii(number['raised'])}"
    return sign + plain + _ascii(number["rest"] or number["factorial"] or "")


def measured(text: str, letters: int) -> str:
    """Return the number of a text that is a number and a unit, and other texts as they are.

    Args:
        text: what stands behind an equals sign.
        letters: the fewest letters of a unit; one letter may be a variable.
    """
    if spaced := SPACED.fullmatch(text):
        return spaced[1].replace(" ", "")
    found = NUMBER.match(text)
    unit = UNIT.fullmatch(text, found.end()) if found else None
    return spelled(found) if unit and not 0 < sum(map(str.isalpha, unit[0])) < letters else text


def _ascii(text: str) -> str:
    text = re.sub(r"\{,\}|\\,|[\u066c\u00a0\u2009\u202f'\u2019]", ",", text)
    text = text.translate({0x2212: "-", 0x2013: "-", 0x066B: ".", 0x2044: "/"})
    return "".join(str(unicodedata.decimal(letter)) if letter.isdecimal() else letter for letter in text)


def last_amount(sentence: str) -> str | None:
    """Return the number a sentence comes to, a set or a tuple of numbers, or None.

    That is the first number behind the last equals sign; a later one only where it is said to be what there is in all. In a
    sentence without an equation it is the last number, but for "in 5 days" and the like at its end.
    """
    if LIST.fullmatch(sentence):
        return sentence
    groups = list(COLLECTION.finditer(sentence))
    found = numbers(sentence)
    if groups and not any(one.start() >= groups[-1].end() for one in found):
        return groups[-1][0]
    if not found:
        return None
    equals = max(sentence.rfind("="), sentence.rfind("\u2248"))
    behind = [one for one in found if one.start() > equals] if equals >= 0 else []
    if behind:
        again = PUT_OTHERWISE.search(sentence, behind[0].end())
        later = [one for one in behind[1:] if IN_ALL.match(sentence, one.end()) or (again and one.start() > again.end())]
        return spelled(later[-1] if later else behind[0])
    if (
        len(found) > 1
        and AT_THE_END.search(sentence[: found[-1].start()])
        and re.fullmatch(r"\s*(?:\w+[\s.]*){0,3}", sentence[found[-1].end() :][:60])
    ):
        return spelled(found[-2])
    return spelled(found[-1])
