"""Binomial coefficients: closed forms of sums, coefficients of expansions."""

import random
from math import factorial

from latent_trainer.data.generated.combinatorics.text import binomial, multiplied, power, shifted, summed, times, total
from latent_trainer.data.generated.families import Exercise


def weighted_binomial_sum(rng: random.Random, hard: bool) -> Exercise:
    """Sum binomial coefficients times powers and a linear or quadratic weight."""
    linear, constant = rng.randint(1, 6), rng.choice((-5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7))
    square = rng.randint(2, 9) if hard else 0
    first, second = rng.choice((-4, -3, -2, 2, 3, 4, 5, 6)), rng.randint(1, 5)
    if first + second == 0:
        first = 7
    base = first + second
    weight = summed([times(square, "k(k-1)"), times(linear, "k"), str(constant)])
    weight = weight if weight.lstrip("-").isalnum() else f"({weight})"
    factors = [binomial("n", "k"), power(first, "k")] + ([power(second, "n-k")] if second > 1 else [])
    expression = f"\\sum_{{k=0}}^{{n}} {weight} {multiplied(factors)}"
    quadratic = "n \\cdot (n-1)" if base == 1 else f"n \\cdot (n-1) \\cdot {power(base, 'n-2')}"
    slope = "n" if base == 1 else f"n \\cdot {power(base, 'n-1')}"
    terms = [times(square * first**2, quadratic), times(linear * first, slope), times(constant, power(base, "n"))]
    answer = summed(terms)
    question = rng.choice(
        (
            f"Find a closed form in $n$, valid for all $n \\ge 2$, of the sum ${expression}$.",
            f"Evaluate ${expression}$ for $n \\ge 2$; the answer is an expression in $n$ without a sum.",
            f"Let $n \\ge 2$. Write ${expression}$ without the summation sign.",
        )
    )
    steps = [
        f"The binomial theorem gives sum of {binomial('n', 'k')} x^k y^{{n-k}} = (x+y)^n",
        f"Since k {binomial('n', 'k')} = n {binomial('n-1', 'k-1')}, the weight k gives n x (x+y)^{{n-1}}",
    ]
    if hard:
        steps.append(
            f"Since k(k-1) {binomial('n', 'k')} = n(n-1) {binomial('n-2', 'k-2')}, k(k-1) gives n(n-1) x^2 (x+y)^{{n-2}}"
        )
    steps.append(f"Here x = {first} and y = {second}, so x+y = {base}")
    steps.append(f"The sum is {answer}")
    parameters = {"square": square, "linear": linear, "constant": constant, "first": first, "second": second}
    return Exercise(question, steps, answer, 3 + hard, parameters)


def weighted_vandermonde(rng: random.Random, hard: bool) -> Exercise:
    """Sum products of two binomial coefficients times a linear weight, in closed form in n."""
    fixed, size = (rng.randint(13, 20), rng.randint(8, 11)) if hard else (rng.randint(3, 12), rng.randint(2, 7))
    linear, constant = rng.randint(1, 6), rng.randint(0, 7)
    weight = summed([times(linear, "k"), str(constant)])
    weight = weight if constant == 0 else f"({weight})"
    product = f"{binomial(fixed, 'k')} {binomial('n', f'{size}-k')}"
    expression = f"\\sum_{{k=0}}^{{{size}}} {weight} {product}"
    slope = times(linear * fixed, binomial(shifted("n", fixed - 1), size - 1))
    answer = summed([slope, times(constant, binomial(shifted("n", fixed), size))])
    question = rng.choice(
        (
            f"Find a closed form in $n$ of ${expression}$, where $n \\ge {size}$.",
            f"For $n \\ge {size}$, write ${expression}$ with at most two binomial coefficients and no sum.",
            f"Let $n \\ge {size}$. Evaluate the sum ${expression}$ as an expression in $n$.",
        )
    )
    steps = [
        f"Since k {binomial(fixed, 'k')} = {fixed} {binomial(fixed - 1, 'k-1')}, the weight k gives {fixed} times a plain "
        "sum"
    ]
    steps.append(f"Choosing {size - 1} of {shifted('n', fixed - 1)} things: {binomial(shifted('n', fixed - 1), size - 1)}")
    if constant:
        steps.append(
            f"The weight 1 means choosing {size} of {shifted('n', fixed)} things: {binomial(shifted('n', fixed), size)}"
        )
    steps.append(f"The sum is {answer}")
    parameters = {"fixed": fixed, "size": size, "linear": linear, "constant": constant}
    return Exercise(question, steps, answer, 3 + hard, parameters)


def weighted_column_sum(rng: random.Random, hard: bool) -> Exercise:
    """Sum a column of Pascal's triangle with a linear weight, in closed form in n."""
    lower = rng.randint(6, 9) if hard else rng.randint(1, 5)
    shift = rng.randint(0, lower)
    linear, constant = rng.randint(7, 12) if hard else rng.randint(1, 6), rng.randint(0, 14)
    weight = summed([times(linear, "i"), str(constant)])
    weight = weight if constant == 0 else f"({weight})"
    expression = f"\\sum_{{i=0}}^{{n}} {weight} {binomial(shifted('i', shift), lower)}"
    rest = constant - linear * (shift + 1)
    long, short = binomial(shifted("n", shift + 2), lower + 2), binomial(shifted("n", shift + 1), lower + 1)
    answer = summed([times(linear * (lower + 1), long), times(rest, short)])
    question = rng.choice(
        (
            f"Find a closed form in $n$ of ${expression}$, where $n \\ge {lower}$ and a binomial coefficient with a lower "
            "entry above the upper one is 0.",
            f"For $n \\ge {lower}$, express ${expression}$ through binomial coefficients without a sum. Binomial "
            "coefficients whose lower entry exceeds the upper one are zero.",
            f"Evaluate ${expression}$ as a function of $n$ ($n \\ge {lower}$; $\\binom{{a}}{{b}} = 0$ for $0 \\le a < b$).",
        )
    )
    moved = f"({shifted('i', shift + 1)})"
    steps = [f"Write the weight as {summed([times(linear, moved), str(rest)])}"]
    steps.append(
        f"{moved} {binomial(shifted('i', shift), lower)} = {lower + 1} {binomial(shifted('i', shift + 1), lower + 1)}"
    )
    steps.append(f"Sums along a column of Pascal's triangle: {long} and {short}")
    steps.append(f"The sum is {answer}")
    parameters = {"lower": lower, "shift": shift, "linear": linear, "constant": constant}
    return Exercise(question, steps, answer, 4 + hard, parameters)


def expansion_coefficient(rng: random.Random, hard: bool) -> Exercise:
    """Find a coefficient in a power of a quadratic polynomial."""
    exponent = rng.randint(8, 11) if hard else rng.randint(3, 7)
    a, b, c = rng.randint(1, 5), rng.choice((-4, -3, -2, -1, 1, 2, 3, 4, 5)), rng.choice((-3, -2, -1, 1, 2, 3, 4))
    degree = rng.randint(2, 2 * exponent - 2)
    terms = {}
    for squares in range(max(0, degree - exponent), degree // 2 + 1):
        ones = degree - 2 * squares
        rest = exponent - squares - ones
        ways = factorial(exponent) // (factorial(squares) * factorial(ones) * factorial(rest))
        terms[squares] = ways * a**squares * b**ones * c**rest
    inner = summed([times(a, "x^2"), times(b, "x"), str(c)])
    term = f"$x^{{{degree}}}$"
    question = rng.choice(
        (
            f"What is the coefficient of {term} in the expansion of $({inner})^{{{exponent}}}$?",
            f"Expand $({inner})^{{{exponent}}}$. Find the coefficient of {term}.",
            f"Determine the number that multiplies {term} when $({inner})^{{{exponent}}}$ is written as a polynomial in "
            "$x$.",
        )
    )
    steps = (
        f"Take x^2 from j of the {exponent} factors, x from {degree}-2j and the constant from the others",
        f"Sum \\frac{{{exponent}!}}{{j! ({degree}-2j)! ({exponent - degree}+j)!}} ({a})^j ({b})^{{{degree}-2j}} "
        f"({c})^{{{exponent - degree}+j}} over j",
        "; ".join(f"j = {squares}: {value}" for squares, value in terms.items()),
        f"Add: {total(terms.values())}",
    )
    parameters = {"a": a, "b": b, "c": c, "exponent": exponent, "degree": degree}
    return Exercise(question, steps, str(sum(terms.values())), 2 + (len(terms) > 2) + hard, parameters)
