r"""The words and marks of formulas, in LaTeX and in plain text."""

import re

GREEK = set(
    re.findall(
        r"\w+",
        "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi rho sigma tau upsilon phi chi psi omega "
        "Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega ell",
    )
)
PREFIX = {  # functions of one argument, which may stand without brackets
    "ln": "log",
    "log": "log",
    "lg": "lg",
    "exp": "exp",
    **{name: name for name in ("sin", "cos", "tan", "cot", "sec", "csc", "sinh", "cosh", "tanh")},
    **{
        name: "a" + name.removeprefix("a").removeprefix("rc")
        for name in ("arcsin", "arccos", "arctan", "asin", "acos", "atan")
    },
}
LISTS = {"max": "max", "min": "min", "gcd": "gcd", "lcm": "lcm"}
BRACKETED = {"abs": "abs", "floor": "floor", "ceil": "ceil", "cbrt": "cbrt"}
FENCES = {r"\lfloor": (r"\rfloor", "floor"), r"\lceil": (r"\rceil", "ceil"), r"\|": (r"\|", "norm"), "|": ("|", "abs")}
ACCENTS = ("hat", "bar", "tilde", "dot", "overline", "mathbb", "mathcal")
CALLED = set("fghFGH")  # letters that are functions before a bracket; any other letter is a factor
EXPECTED = set("PEV")  # functions of an event or a random variable, which is a capital letter
CLOSING = {"(": ")", "[": "]", "{": "}", r"\{": r"\}"}
WORDS = set(PREFIX) | set(LISTS) | set(BRACKETED) | {"sqrt", "binom", "pi", "frac"}

NUMBER = re.compile(r"([0-9]+)(?:\.([0-9]+))?|\.([0-9]+)")
SCIENTIFIC = re.compile(r"[eE]([+-]?[0-9]{1,3})(?![0-9.])")
COMMAND = re.compile(r"\\(?:[A-Za-z]+|.)", re.DOTALL)
LETTERS = re.compile(r"[A-Za-z]+")
SUBSCRIPT = re.compile(r"_\s*(?:\{([^{}]{1,30})\}|([0-9A-Za-z]|\\[a-z]+))")
MARK = re.compile(r"\s*(?:'|\^\s*\{?\s*(?:\\star(?![A-Za-z])|\\prime(?![A-Za-z]))\s*\}?)")
INVERSE = re.compile(r"\^\s*(?:\{\s*-\s*1\s*\}|-\s*1)(?=\s*\()")
CHOICE = re.compile(r"(?:C|\\binom)\s*\(")
MIXED = re.compile(r"\s*\\frac\s*(?:\{([0-9]+)\}\s*\{([0-9]+)\}|([0-9])\s*([0-9])(?![0-9]))")
