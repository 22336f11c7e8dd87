r"""Unicode's ways to write what ASCII and LaTeX commands write, too; the tables of `unicodedata` wherever they have it."""

import re
import unicodedata
from fractions import Fraction

GREEK_LETTERS = dict(
    re.findall(
        r"(\S) (\w+)",
        "α alpha β beta γ gamma δ delta ε epsilon ζ zeta η eta θ theta ι iota κ kappa λ lambda μ mu ν nu ξ xi π pi ρ rho "
        "σ sigma τ tau υ upsilon φ phi χ chi ψ psi ω omega ς sigma ϑ theta ϕ phi ϵ epsilon ϱ rho ϖ pi ϰ kappa ℓ ell "
        "Γ Gamma Δ Delta ∆ Delta Θ Theta Λ Lambda Ξ Xi Π Pi Σ Sigma Φ Phi Ψ Psi Ω Omega",
    )
)
COMMANDS = {
    "≤⩽≦": "le", "≥⩾≧": "ge", "≠": "ne", "≈≃≅": "approx", "≡": "equiv", "∈": "in", "∉": "notin", "∞": "infty", "√": "sqrt",
    "∪": "cup", "∩": "cap", "∖": "setminus", "±": "pm", "∓": "mp", "⌊": "lfloor", "⌋": "rfloor", "⌈": "lceil", "⌉": "rceil",
    "∅": "emptyset", "⟨〈": "langle", "⟩〉": "rangle", "∂": "partial", "∇": "nabla", "∑": "sum", "∏": "prod", "∫": "int",
    "→": "to", "⇒": "implies", "×·⋅∙": "cdot", "∀": "forall", "∃": "exists", "⊂": "subset", "⊆": "subseteq", "⊤": "top",
    "∠": "angle", "△": "triangle",
}  # fmt: skip
PLAIN = {
    "\u2212\u2010\u2011\u2012\u2013\u2014\u2015\ufe63\uff0d": "-", "\u2044\u2215\u00f7": "/", "\u066b": ".", "\u066c": ",",
    "\u2236\ufe55": ":", "\u3001\u060c": ",", "\u061b": ";", "\u066a": "%", "‖∥": r"\| ", "′’": "'", "″": "''", "∗": "*",
    "⋆★": r"^\star ",
    "\u3002": ".", "∣": "|", "∛": r"\sqrt[3]",
}  # fmt: skip
SYMBOLS = str.maketrans(
    {letter: rf"\{name} " for letters, name in COMMANDS.items() for letter in letters}
    | {letter: rf"\{name} " for letter, name in GREEK_LETTERS.items()}
    | {letter: plain for letters, plain in PLAIN.items() for letter in letters}
    | {"°": r"^\circ ", "º": r"^\circ ", "˚": r"^\circ "}
)
DOUBLE_STRUCK = str.maketrans({letter: rf"\mathbb{{{name}}}" for letter, name in zip("ℝℕℤℚℂℙ", "RNZQCP", strict=True)})
ACCENTS = {"\u0302": "hat", "\u0304": "bar", "\u0305": "bar", "\u0303": "tilde", "\u0307": "dot"}
ACCENTED = re.compile("(?<![A-Za-zα-ω])([A-Za-zα-ω])([\u0302\u0303\u0304\u0305\u0307])(?![A-Za-z\u0300-\u036f])")
OVERLINED = re.compile("(?:[0-9]\u0305|[0-9]\u0304)+")
THIN_SPACES = re.compile("(?<=[0-9])[\u00a0\u2009\u202f\u2007\u2008\u200a](?=[0-9]{3}(?![0-9]))")
ROOT = re.compile(r"(√|∛)\s*([0-9]+(?:\.[0-9]+)?)")
VULGAR = re.compile(r"(?:(?<![0-9.,^_])([0-9]{1,15}) ?)?([\u00bc-\u00be\u2150-\u215e\u2189])")
GROUPED_BEFORE = re.compile(r"(?<=[0-9]),(?=[0-9]{3}(?:,[0-9]{3})* ?[\u00bc-\u00be\u2150-\u215e])")


def ascii_text(text: str) -> str:
    r"""Return a text with LaTeX commands and ASCII letters for Unicode's symbols.

    Raised and lowered characters become exponents and subscripts, vulgar fractions behind a whole number one fraction (2½ is
    5/2), digits of every script our own, accents LaTeX's. Characters without a meaning here stay.

    Args:
        text: any text, lone surrogates included.
    """
    if text.isascii():
        return "".join(" " if letter < " " or letter == "\x7f" else letter for letter in text)
    text = text.translate(DOUBLE_STRUCK)
    decomposed = unicodedata.normalize("NFD", text)
    if ACCENTED.search(decomposed) or OVERLINED.search(decomposed):
        text = OVERLINED.sub(lambda found: rf"\overline{{{re.sub('[^0-9]', '', found[0])}}}", decomposed)
        text = ACCENTED.sub(lambda found: rf"\{ACCENTS[found[2]]}{{{found[1]}}}", text)
    text = "".join(map(_digit, text))
    text = THIN_SPACES.sub("", text)
    text = VULGAR.sub(_fraction, GROUPED_BEFORE.sub("", text))
    text = ROOT.sub(lambda found: (r"\sqrt" if found[1] == "√" else r"\sqrt[3]") + f"{{{found[2]}}}", text)
    text = _shifted(_shifted(text, "<super>", "^"), "<sub>", "_")
    text = unicodedata.normalize("NFKC", text.translate(SYMBOLS)).translate(SYMBOLS)
    kinds = {letter: unicodedata.category(letter) for letter in set(text)}
    return "".join(" " if kinds[letter] == "Cc" else letter for letter in text if kinds[letter] != "Cf")


def _digit(letter: str) -> str:
    if letter.isascii() or unicodedata.category(letter) != "Nd":
        return letter
    return str(unicodedata.digit(letter))


def _fraction(found: re.Match) -> str:
    value = Fraction(unicodedata.numeric(found[2])).limit_denominator(100) + int(found[1] or 0)
    return rf"\frac{{{value.numerator}}}{{{value.denominator}}}"


def _shifted(text: str, kind: str, mark: str) -> str:
    """Write runs of raised or lowered characters as one exponent or subscript."""
    pieces, run = [], ""
    for letter in text + "\0":
        decomposition = "" if letter in "ªº\0" else unicodedata.decomposition(letter)
        if decomposition.startswith(kind):
            run += "".join(chr(int(code, 16)) for code in decomposition.split()[1:])
            continue
        if run:
            pieces.append(f"{mark}{{{run}}}")
            run = ""
        pieces.append(letter)
    return "".join(pieces[:-1])
