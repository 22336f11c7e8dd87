r"""Units and currencies: taken off an amount, and compared by the table of pint."""

import re
from fractions import Fraction
from functools import cache

MAX_UNIT_CHARACTERS = 80
MAX_PER_UNIT = 6  # words

CODES = dict(  # what pint has no names for
    re.findall(
        r"(\S+) (\w+)",
        "dollar dollar usd dollar buck dollar euro euro eur euro gbp sterling sterling sterling rupee rupee inr rupee "
        "rs rupee yen yen jpy yen yuan yuan cny yuan rmb yuan won won krw won franc franc chf franc ruble ruble rub ruble "
        "cad cad aud aud cent cent ¢ cent",
    )
)
SIGNS = dict(
    re.findall(
        r"(\S) (\w+)",
        "$ dollar € euro £ sterling ₹ rupee ₨ rupee ¥ yen ₩ won ₽ ruble ¢ cent ₺ lira ₫ dong ₪ shekel ₱ peso ₦ naira ฿ baht "
        "₴ hryvnia ₿ bitcoin",
    )
)
SAME = {
    frozenset(pair) for pair in (("pound", "lb"), ("pound", "sterling"), ("degree", "celsius"), ("degree", "fahrenheit"))
}
IRREGULAR = dict(
    re.findall(
        r"(\S+) (\w+)",
        "people person children child men man women woman feet foot inches inch mice mouse lbs lb hrs hr bus bus % percent",
    )
)
# pint means something else by these, or they are no exact amount
NOT_PINT = set(re.findall(r"\w+", "unit percent degree celsius fahrenheit dollar cent"))

SIGN = "|".join(map(re.escape, SIGNS))
BEFORE = re.compile(
    rf"([-+]?) ?(?:(?:US|C|CA|A|AU|NZ|HK|S)? ?\\?(?P<sign>{SIGN})"
    r"|(?P<code>Rs\.?|INR|USD|EUR|GBP|JPY|CNY|CHF|CAD|AUD|KRW)(?![A-Za-z]))"
    r" ?(?P<amount>[-+]? ?[0-9.(\\].*)",
    re.DOTALL | re.IGNORECASE,
)
AMONG = re.compile(rf"(?:(?<=[-+*/(])|(?<=cdot)) ?\\?({SIGN}) ?(?=[0-9.])")  # a currency of an operand: 9*$2
SPELLED_DEGREE = re.compile(r"\s*\bdeg(?:rees?)?\s+(C|F)(?:elsius|entigrade|ahrenheit)?(?![A-Za-z])", re.IGNORECASE)
DEGREE = re.compile(r"\s*\^\s*\{?\s*\\circ\s*\}?\s*(?:\\text\s*\{\s*)?([CF]?)\s*\}?\s*", re.IGNORECASE)
TOKEN = re.compile(rf"\s*([A-Za-z]+\.?|\\?%|\\?(?:{SIGN})|\^\s*\{{?\s*-?\s*[0-9]\s*\}}?|[/*-])")
ABBREVIATION = re.compile(
    r"[kcmdnu]?m|[kmu]?g|ft|in|mi|yd|lbs?|oz|[mcd]?l|hrs?|m?s|min|sec|[kmgt]b|[kmg]?hz|k?[wj]|k?wh|[ap]m|[mk]ph|usd|eur|gbp|inr|rs|rad"
    r"|pts?|k?pa|mol|cal|kcal|sq|cu|cc|mins?"
)
LETTERED = re.compile(r"(?:[mgNJW]|k[mg]|[cm]m|mL|L|ft|mi)/(?:s|h|L|kg|K|m)(?:\^\s*\{?[23]\}?)?")
SINGLE = re.compile(r"(.*[0-9)}])\s*([A-Za-z])(?:\^\s*\{?([23])\}?)?\s*", re.DOTALL)
ENDS = re.compile(r"(?:[0-9)}]|(?:\A|[^A-Za-z])pi)\s*\Z")
ANGLED = re.compile(r"sin|cos|tan|cot|sec|csc")
FILLER = set(re.findall(r"\w+", "a an of the to on at by per total each altogether left only more s in us apiece exactly"))
VARIABLES = set(
    re.findall(
        r"\w+",
        "pi inf infty infinity choose alpha beta gamma delta theta lambda mu sigma omega phi and or log ln sin cos tan mod "
        "exp sqrt max if for when where with is are not no yes digit base",
    )
)
POWERS = {"square": 2, "sq": 2, "cubic": 3, "cu": 3, "squared": 2, "cubed": 3}

Unit = tuple[tuple[str, int], ...]
DEGREES: Unit = (("degree", 1),)


def measured(text: str) -> tuple[str, Unit | None]:
    r"""Split "5 cm", "$18", "12\%", "3\text{ m}" and "€5/hour" into the amount and the unit; None where there is no unit.

    A unit follows a number or a closing bracket. A letter on its own is a variable, unless LaTeX sets it as text.

    Args:
        text: a cleaned answer.
    """
    currency: Unit = ()
    if found := BEFORE.fullmatch(text):
        name = SIGNS.get(found["sign"]) or CODES[found["code"].lower().rstrip(".")]
        currency, text = ((name, 1),), (found[1] + found["amount"]).strip()
    signs = set(AMONG.findall(text))
    if len(signs) == 1 and (name := SIGNS[signs.pop()]) and currency in ((), ((name, 1),)):
        currency, text = ((name, 1),), AMONG.sub("", text)
    for end in range(max(1, len(text) - MAX_UNIT_CHARACTERS), len(text)):
        if not ENDS.search(text, max(0, end - 5), end) and not text.startswith(r"\text", end):
            continue
        if (unit := _unit(text[end:])) is not None and not (unit == DEGREES and ANGLED.search(text, 0, end)):
            return text[:end].strip(), tuple(sorted(currency + unit)) or None
    return text, currency or None


def _unit(text: str) -> Unit | None:
    """Return the unit that a text behind an amount is; nothing where it only fills ("each"), None where it is none."""
    if found := DEGREE.fullmatch(text):
        return (({"c": "celsius", "f": "fahrenheit"}.get(found[1].lower(), "degree"), 1),)
    if not text.strip() or "," in text:
        return None
    as_text = r"\text" in text
    plain = re.sub(r"\\text\s*\{([^{}]*)\}", r" \1 ", text) if as_text else text
    plain = SPELLED_DEGREE.sub(lambda found: " celsius" if found[1] in "cC" else " fahrenheit", plain)
    plain = re.sub(r"\b([ap])\.\s?m\.?", r"\1m", plain)
    plain = re.sub(r"\\mu(?![A-Za-z])\s*", "u", plain).replace(r"\Omega", "ohm").replace(r"\cdot", " ")
    tokens, at = [], 0
    while plain[at:].strip():
        found = TOKEN.match(plain, at)
        if found is None:
            return None
        tokens.append(found[1].rstrip(".").replace(" ", ""))
        at = found.end()
    words = [token for token in tokens if token[0].isalpha()]
    if as_text and VARIABLES.intersection(word.lower() for word in words):
        return None
    if not (
        as_text or _is_unit(plain.strip(), words, glued=not text[0].isspace() and bool(words) and tokens[0] == words[0])
    ):
        return None
    return _product(tokens)


def _is_unit(text: str, words: list[str], glued: bool) -> bool:
    """Return whether words behind a number are a unit and no variables; without a space only a known abbreviation is one."""
    lower = [word.lower() for word in words]
    if not words:
        return bool(re.fullmatch(rf"\\?%|\\?(?:{SIGN})", text))
    if glued and not (len(lower[0]) > 1 and ABBREVIATION.fullmatch(lower[0])):
        return LETTERED.fullmatch(text) is not None
    if LETTERED.fullmatch(text):
        return True
    if len(words) > MAX_PER_UNIT or VARIABLES.intersection(lower) or len(text) == 1 or text[0] in "-^*":
        return False
    slashed = "/" in text and any(len(word) > 1 for word in words)
    return all(
        len(word) > 2 or word in FILLER or (slashed and word in "hs") or (len(word) > 1 and ABBREVIATION.fullmatch(word))
        for word in lower
    )


def _product(tokens: list[str]) -> Unit | None:
    """Return powers of units: "miles per hour", "m/s^2", "square feet"."""
    powers: dict[str, int] = {}
    sign, times, last = 1, 1, None
    for index, token in enumerate(tokens):
        word = token.lower().lstrip("\\")
        following = tokens[index + 1 :]
        if word in ("per", "/") or (word in ("a", "an") and powers and following and not following[0].startswith("^")):
            sign = -1
        elif word == "of" and powers:
            break
        elif word[0] == "^" and last:
            powers[last] *= int(re.sub("[^0-9-]", "", word))
        elif word in ("squared", "cubed") and last:
            powers[last] *= POWERS[word]
        elif word in POWERS and following:
            times = POWERS[word]
        elif word in ("*", "-") or (
            word in FILLER
            and not (word == "in" and not any(token[0].isalpha() for token in following))
            and not (word == "s" and sign < 0)
        ):
            continue
        elif word[0] in "^":
            return None
        else:
            last = SIGNS.get(word, token.lstrip("\\"))
            powers[last] = powers.get(last, 0) + sign * times
            sign, times = 1, 1
    return tuple(sorted(powers.items()))


def singular(word: str) -> str:
    """Return a word of a unit in lower case, without the ending of a plural, a currency by its name."""
    word = word.lower()
    word = IRREGULAR.get(word, word)
    if re.search(r"(?:x|ch|sh|ss|zz)es$", word):
        word = word[:-2]
    elif len(word) > 4 and word.endswith("ies"):
        word = word[:-3] + "y"
    elif len(word) > 2 and word.endswith("s") and word[-2] not in "sui":
        word = word[:-1]
    return CODES.get(word, word)


def ratio(unit: Unit, other: Unit) -> Fraction | None:
    """Return how many of the other unit one unit is, exactly; None where they do not measure the same.

    Args:
        unit, other: from `measured`.
    """
    plain, other_plain = _plain(unit), _plain(other)
    if plain == other_plain:
        return Fraction(1)
    if (
        len(plain) == len(other_plain) == 1
        and frozenset((plain[0][0], other_plain[0][0])) in SAME
        and plain[0][1] == other_plain[0][1]
    ):
        return Fraction(1)
    (factor, base), (other_factor, other_base) = _in_base_units(unit), _in_base_units(other)
    if base != other_base or "radian" in dict(base):  # a degree is no exact number of radians
        return None
    return factor / other_factor


def lettered(text: str, unit: Unit) -> tuple[str, Unit | None]:
    """Split "5 h" where its letter measures the same as the other answer's unit; else the letter is a variable."""
    found = SINGLE.fullmatch(text)
    if found is None:
        return text, None
    own = ((found[2], int(found[3] or 1)),)
    return (found[1].strip(), own) if ratio(own, unit) is not None else (text, None)


def _plain(unit: Unit) -> Unit:
    return tuple(sorted((singular(word), power) for word, power in unit))


def _in_base_units(unit: Unit) -> tuple[Fraction, Unit]:
    """Return a unit as a multiple of base units; words that pint does not know are base units of their own."""
    factor, base = Fraction(1), {}
    for word, power in unit:
        one, parts = _definition(word)
        if abs(power) > 9:
            return Fraction(1), unit
        factor *= one**power
        for name, exponent in parts:
            base[name] = base.get(name, 0) + exponent * power
    return factor, tuple(sorted((name, power) for name, power in base.items() if power))


@cache
def _registry():
    """Return pint's table, which takes a second to read, once a process and only where two units differ as words."""
    import pint

    return pint.UnitRegistry(non_int_type=Fraction)


def _definition(word: str) -> tuple[Fraction, tuple]:
    """Return one unit as a multiple of base units."""
    if singular(word) == "cent":
        return Fraction(1, 100), (("dollar", 1),)
    if singular(word) in NOT_PINT | set(CODES.values()) or len(word) > 30:
        return Fraction(1), ((singular(word), 1),)
    registry = _registry()
    found = registry.parse_unit_name(word) or registry.parse_unit_name(word.lower())
    if not found:
        return Fraction(1), ((singular(word), 1),)
    prefix, name, _ = found[0]
    quantity, base = registry.get_base_units(registry.UnitsContainer({prefix + name: 1}))
    if not isinstance(quantity, Fraction | int):
        return Fraction(1), ((singular(word), 1),)
    return Fraction(quantity), tuple(base._units.items())
