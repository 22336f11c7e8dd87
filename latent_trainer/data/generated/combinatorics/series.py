"""Generating functions: coefficients of products and of rational functions."""

import random
from math import comb

from latent_trainer.data.generated.combinatorics.text import binomial, power, shifted, summed, times, total
from latent_trainer.data.generated.families import Exercise


def product_coefficient(rng: random.Random, hard: bool) -> Exercise:
    """Find a coefficient in a power of a finite geometric sum times a power of the full geometric series."""
    first, width = rng.randint(0, 3), rng.randint(1, 5)
    finite, full = rng.randint(6, 8) if hard else rng.randint(3, 5), rng.randint(0, 3)
    shift = first * finite
    rest = rng.randint(width + 1, 4 * width + 4 if full else finite * width - 1)
    degree, bars = shift + rest, finite + full - 1
    terms = {}
    for number in range(min(finite, rest // (width + 1)) + 1):
        left = rest - number * (width + 1)
        terms[number] = (-1) ** number * comb(finite, number) * comb(left + bars, bars)
    powers = [
        "1" if degree == 0 else "x" if degree == 1 else f"x^{{{degree}}}" for degree in range(first, first + width + 1)
    ]
    inside = "+".join(powers) if width < 4 else f"{powers[0]}+{powers[1]}+\\dots+{powers[-1]}"
    series = f"({inside})^{{{finite}}}" + (f" \\cdot \\frac{{1}}{{(1-x)^{{{full}}}}}" if full > 1 else "")
    series += " \\cdot \\frac{1}{1-x}" if full == 1 else ""
    term = f"$x^{{{degree}}}$"
    question = rng.choice(
        (
            f"What is the coefficient of {term} in the power series of ${series}$?",
            f"Find the coefficient of {term} in ${series}$, expanded in powers of $x$.",
            f"Let $\\sum_{{i \\ge 0}} c_i x^i = {series}$. Compute $c_{{{degree}}}$.",
        )
    )
    lead = f"x^{{{shift}}} " if shift else ""
    steps = (
        f"Geometric sums turn the product into {lead}(1-x^{{{width + 1}}})^{{{finite}}} / (1-x)^{{{bars + 1}}}",
        f"We need the coefficient of x^{{{rest}}} without the leading power"
        if shift
        else f"We need the coefficient of x^{{{rest}}}",
        f"Sum (-1)^j {binomial(finite, 'j')} \\binom{{{rest}-{width + 1}j+{bars}}}{{{bars}}} over j: "
        + ", ".join(f"j = {number}: {value}" for number, value in terms.items()),
        f"Add: {total(terms.values())}",
    )
    parameters = {"first": first, "width": width, "finite": finite, "full": full, "degree": degree}
    return Exercise(question, steps, str(sum(terms.values())), 3 + hard, parameters)


def series_closed_form(rng: random.Random, hard: bool) -> Exercise:
    """Give the n-th coefficient of a rational function with one pole in closed form."""
    base = rng.choice((-7, -6, -5, 6, 7, 8, 9)) if hard else rng.choice((-4, -3, -2, 2, 3, 4, 5))
    order = rng.randint(5, 7) if hard else rng.randint(2, 4)
    constant, slope = rng.randint(1, 9), rng.choice((-7, -6, -5, -4, -3, -2, -1, 1, 2, 3, 4, 5, 6, 7))
    top = summed([str(constant), times(slope, "x")])
    series = f"\\frac{{{top}}}{{({summed(['1', times(-base, 'x')])})^{{{order}}}}}"

    def coefficient(offset):
        ways = binomial(shifted("n", order - 1 - offset), order - 1)
        return f"{power(base, shifted('n', -offset))} \\cdot {ways}"

    answer = summed([times(constant, coefficient(0)), times(slope, coefficient(1))])
    question = rng.choice(
        (
            f"For $n \\ge 1$, find the coefficient of $x^n$ in the power series of ${series}$ in closed form.",
            f"Let $\\sum_{{n \\ge 0}} c_n x^n = {series}$. Give a formula for $c_n$, $n \\ge 1$.",
            f"Write the coefficient of $x^n$ ($n \\ge 1$) in the expansion of ${series}$ around 0 as an expression in $n$.",
        )
    )
    steps = (
        f"The coefficient of x^n in 1/(1-ax)^m is a^n {binomial('n+m-1', 'm-1')}; here a = {base} and m = {order}",
        f"The constant {constant} contributes {times(constant, coefficient(0))}",
        f"The term {times(slope, 'x')} moves the index by one and contributes {times(slope, coefficient(1))}",
        f"The coefficient is {answer}",
    )
    parameters = {"base": base, "order": order, "constant": constant, "slope": slope}
    return Exercise(question, steps, answer, 3 + hard, parameters)
