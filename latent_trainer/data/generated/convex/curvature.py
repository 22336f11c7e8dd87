"""Composed functions, quasiconvex functions and their sublevel sets."""

import random
from math import isqrt

from latent_trainer.data.generated.convex.draws import nonzero
from latent_trainer.data.generated.convex.notation import combine, interval, listing, polynomial, tex
from latent_trainer.data.generated.families import Exercise


def composition_convexity(rng: random.Random, hard: bool) -> Exercise:
    """Whether a composed function of one variable (harder: a sum over two variables) is convex."""
    convex = rng.choice((True, False))
    verdicts = (
        [convex] if not hard else [True, True] if convex else rng.choice(([True, False], [False, True], [False, False]))
    )
    names = ("x", "y")[: len(verdicts)]
    terms = [_term(rng, verdict, name) for verdict, name in zip(verdicts, names, strict=True)]
    slope = nonzero(rng, -9, 9)
    text = " + ".join(term["text"] for term in terms).replace("+ -", "- ")
    text += f" {'-' if slope < 0 else '+'} {combine(((abs(slope), names[-1]),))}"
    domains = [term["domain"] for term in terms if term["domain"]]
    where = f" on the set where {listing(domains)}" if domains else f" on R{'^2' if hard else ''}"
    steps = [f"{term['text']} {term['reason']}" for term in terms]
    steps.append("The linear term changes nothing about convexity")
    if hard:
        steps.append("A sum of functions of separate variables is convex exactly if every summand is")
    steps.append(f"So f is {'convex' if convex else 'not convex'}")
    question = rng.choice(
        (
            f"Is f({', '.join(names)}) = {text} convex{where}?",
            f"Let f({', '.join(names)}) = {text}. Is f a convex function{where}?",
            f"Decide whether f({', '.join(names)}) = {text} is convex{where}.",
        )
    )
    parameters = {"terms": [[term["kind"], *term["numbers"]] for term in terms], "slope": slope}
    return Exercise(question, steps, "yes" if convex else "no", 4 if hard else 2, parameters)


def _term(rng: random.Random, convex: bool, name: str) -> dict:
    kind = rng.choice(("exponential", "logarithm", "power", "root", "extreme", "reciprocal"))
    a, b, c, d = rng.randint(1, 9), rng.randint(1, 9), rng.randint(1, 9), rng.randint(1, 9)
    inner, domain = combine(((a, name), (b, ""))), None
    signed, verdict = c if convex else -c, "convex" if convex else "not convex"
    if kind == "exponential":
        text = f"e^{{{combine(((a if convex else -a, f'{name}^2'), (b, name)))}}}"
        reason = "has a convex exponent and e^u is increasing and convex, so it is convex"
        reason = reason if convex else "is the density of a bell curve up to a factor, so it is not convex"
        signed = a if convex else -a
    elif kind == "logarithm":
        signed = -signed
        text, domain = f"{tex(signed)}\\log({inner})", f"{inner} > 0"
        reason = f"is {'minus ' if convex else ''}a strictly concave function, so it is {verdict}"
    elif kind == "power":
        signed = rng.choice((2, 4, 6)) if convex else rng.choice((3, 5, 7))
        text = f"({inner})^{signed}"
        reason = "is an even power of an affine function, so it is convex"
        reason = reason if convex else "is an odd power and bends down where its base is negative, so it is not convex"
    elif kind == "root":
        text = f"{tex(signed)}\\sqrt{{{combine(((a, f'{name}^2'), (b, '')))}}}"
        reason = f"is {'' if convex else 'minus '}a Euclidean norm of an affine map, so it is {verdict}"
    elif kind == "extreme":
        signed = d if convex else -d
        text = f"\\{'max' if convex else 'min'}({inner}, {combine(((-c, name), (d, '')))})"
        reason = "is a maximum of affine functions, so it is convex"
        reason = reason if convex else "is a minimum of two affine functions with different slopes, so it is not convex"
    else:
        text, domain = f"\\frac{{{signed}}}{{{inner}}}", f"{inner} > 0"
        reason = f"is a {'positive' if convex else 'negative'} multiple of 1/u for a positive affine u, so it is {verdict}"
    c = 0 if kind in ("exponential", "power") else c  # not part of the text
    return {"kind": kind, "numbers": [a, b, c, signed], "text": text, "domain": domain, "reason": reason}


def quasiconvexity(rng: random.Random, hard: bool) -> Exercise:
    """Whether a polynomial of degree three (harder: four) is quasiconvex on the real line."""
    quasiconvex = rng.choice((True, False))
    if hard:
        kind = rng.choice(("double", "complex")) if quasiconvex else "distinct"
        p, q, s = rng.sample(range(-5, 6), 3)
        if kind == "double":
            s = p
        total, product = (2 * q, q * q + rng.randint(1, 5)) if kind == "complex" else (q + s, q * s)
        scale = rng.randint(1, 3)
        f = [
            3 * scale,
            -4 * scale * (p + total),
            6 * scale * (product + p * total),
            -12 * scale * p * product,
            rng.randint(-9, 9),
        ]
        outer = combine(((1, "x"), (-p, "")))
        steps = [f"f'(x) = {12 * scale}({outer})({polynomial([1, -total, product])})"]
        steps.append(f"The quadratic factor has discriminant {total * total - 4 * product}")
        steps.append(
            {
                "double": f"Its roots are {p} and {q}, so f' changes sign only at {q}: f is quasiconvex",
                "complex": f"It has no root, so f' changes sign only at {p}: f is quasiconvex",
                "distinct": "f' has three different roots and changes its sign at each: f has two separate local minima "
                "and is not quasiconvex",
            }[kind]
        )
    else:
        scale = rng.randint(1, 4)
        b = rng.randint(1, 12)
        limit = isqrt(3 * scale * b)
        a = rng.choice((-1, 1)) * (
            rng.randint(max(0, limit - 3), limit) if quasiconvex else rng.randint(limit + 1, limit + 4)
        )
        f = [scale, a, b, rng.randint(-9, 9)]
        steps = [
            f"f'(x) = {polynomial([3 * scale, 2 * a, b])} has discriminant {4 * (a * a - 3 * scale * b)}",
            "f' never changes its sign, so f is monotone and every sublevel set is an interval: f is quasiconvex"
            if quasiconvex
            else "f' has two roots, so f rises, falls and rises: some sublevel set is no interval and f is not quasiconvex",
        ]
    text = polynomial(f)
    question = rng.choice(
        (
            f"Is f(x) = {text} quasiconvex on the real line?",
            f"Let f(x) = {text} for real x. Are all sublevel sets of f convex?",
            f"Decide whether f(x) = {text} is a quasiconvex function on R.",
        )
    )
    return Exercise(question, steps, "yes" if quasiconvex else "no", 4 if hard else 3, {"polynomial": f})


def sublevel_interval(rng: random.Random, hard: bool) -> Exercise:
    """The sublevel set of a quadratic over an affine function, an interval."""
    size, scale = (15, rng.randint(2, 4)) if hard else (6, 1)
    low = rng.randint(-size, size - 1)
    high = rng.randint(low + (9 if hard else 1), low + (18 if hard else 8))
    pole, level = rng.randint(low - 9, low - 1), nonzero(rng, -9, 9)
    # scale (x - low)(x - high) <= 0 is what numerator <= level (x - pole) has to say
    top = [scale, level - scale * (low + high), scale * low * high - level * pole]
    bottom = combine(((1, "x"), (-pole, "")))
    steps = (
        f"The denominator is positive, so f(x) <= {level} means {polynomial(top)} <= {combine(((level, f'({bottom})'),))}",
        f"This is {polynomial([scale, -scale * (low + high), scale * low * high])} <= 0",
        f"The roots are {low} and {high}, both larger than {pole}, so the set is {interval(low, high)}",
    )
    text = f"\\frac{{{polynomial(top)}}}{{{bottom}}}"
    question = rng.choice(
        (
            f"Let f(x) = {text} for x > {pole}. Find the sublevel set of all x with f(x) <= {level}, as an interval.",
            f"For which x > {pole} is f(x) = {text} at most {level}? Give the interval.",
            f"Give the interval of all x > {pole} with {text} <= {level}.",
        )
    )
    parameters = {"numerator": top, "pole": pole, "level": level}
    return Exercise(question, steps, interval(low, high), 4 if hard else 3, parameters)
