"""Constants that govern algorithms, and single steps of algorithms."""

import random
from fractions import Fraction

from latent_trainer.data.generated.convex.draws import definite, integers, nonzero, spectral
from latent_trainer.data.generated.convex.linear import dot, times
from latent_trainer.data.generated.convex.notation import combine, linear, listing, matrix, number, quadratic, vector
from latent_trainer.data.generated.families import Exercise


def strong_convexity(rng: random.Random, hard: bool) -> Exercise:
    """The constant of strong convexity, or the Lipschitz constant of the gradient, of a quadratic function."""
    rows, values, reason = spectral(rng, 3 if hard else 2, 1, 12)
    slope = [rng.randint(-6, 6) for _ in rows]
    smooth = rng.choice((True, False))
    value = values[-1] if smooth else values[0]
    text = quadratic([[Fraction(entry, 2) for entry in row] for row in rows], slope)
    steps = (
        f"The Hessian is A = {matrix(rows)}",
        reason,
        f"So the eigenvalues of A are {listing([str(v) for v in values])}",
        f"The {'largest' if smooth else 'smallest'} is {value}",
    )
    smoothness = (
        f"Find the smallest Lipschitz constant (Euclidean norm) of the gradient of f(x) = {text}.",
        f"For which smallest L is f(x) = {text} L-smooth with respect to the Euclidean norm?",
        f"Let f(x) = {text}. What is the smallest L for which \\frac{{L}}{{2}}\\|x\\|_2^2 - f(x) is convex?",
    )
    strength = (
        f"Find the largest m for which f(x) = {text} is strongly convex with constant m in the Euclidean norm.",
        f"For which largest m is f(x) - \\frac{{m}}{{2}}\\|x\\|_2^2 convex, where f(x) = {text}?",
        f"Let f(x) = {text}. What is its modulus of strong convexity, the largest m with f(x) - "
        f"\\frac{{m}}{{2}}\\|x\\|_2^2 convex?",
    )
    question = rng.choice(smoothness if smooth else strength)
    parameters = {"hessian": rows, "slope": slope, "smooth": smooth}
    return Exercise(question, steps, str(value), 3 if hard else 2, parameters)


def condition_number(rng: random.Random, hard: bool) -> Exercise:
    """The condition number of a regularised quadratic problem."""
    rows, values, reason = spectral(rng, 3 if hard else 2, 0, 9)
    weight = rng.randint(1, 9)
    value = Fraction(values[-1] + weight, values[0] + weight)
    steps = (
        reason,
        f"So the eigenvalues of A are {listing([str(v) for v in values])}",
        f"The regularisation adds {weight} to each of them",
        f"The ratio of the largest, {values[-1] + weight}, to the smallest, {values[0] + weight}, is {number(value)}",
    )
    penalty = combine(((weight, "\\|x\\|_2^2"),))
    question = rng.choice(
        (
            f"Let A = {matrix(rows)}. Find the condition number (largest by smallest eigenvalue) of A + {weight}I.",
            f"What is the condition number of the Hessian of f(x) = x \\cdot Ax + {penalty} for A = {matrix(rows)}?",
            f"The function f(x) = \\frac{{1}}{{2}}(x \\cdot Ax + {penalty}) with A = {matrix(rows)} is L-smooth and "
            "m-strongly "
            "convex. Compute L/m for the best constants.",
        )
    )
    return Exercise(question, steps, number(value), 3 if hard else 2, {"matrix": rows, "weight": weight})


def step_bound(rng: random.Random, hard: bool) -> Exercise:
    """The bound on the step size below which gradient descent converges on a least-squares problem."""
    rows, values, reason = spectral(rng, 3 if hard else 2, -9, 9)
    right, half = [rng.randint(-9, 9) for _ in rows], rng.choice((True, False))
    largest = max(value * value for value in values)
    value = Fraction(2 if half else 1, largest)
    steps = (
        reason,
        f"So A is symmetric with the eigenvalues {listing([str(v) for v in values])}",
        f"The Hessian is {'A^2' if half else '2A^2'}, with the largest eigenvalue L = {largest if half else 2 * largest}",
        f"The bound is 2/L = {number(value)}",
    )
    text = ("\\frac{1}{2}" if half else "") + "\\|Ax - b\\|_2^2"
    data = f"A = {matrix(rows)} and b = {vector(right)}"
    question = rng.choice(
        (
            f"Gradient descent with a fixed step size s is run on f(x) = {text}, {data}. Find the largest c such that it "
            "converges from every start for all 0 < s < c.",
            f"Let f(x) = {text} with {data}. Below which number must the fixed step size of gradient descent stay to "
            "converge "
            "from every starting point?",
            f"For f(x) = {text}, {data}, give the number 2/L, where L is the smallest Lipschitz constant of the gradient.",
        )
    )
    return Exercise(question, steps, number(value), 4 if hard else 3, {"matrix": rows, "right": right, "half": half})


def contraction_factor(rng: random.Random, hard: bool) -> Exercise:
    """The factor by which gradient descent contracts the error on a quadratic function."""
    rows, values, reason = spectral(rng, 3 if hard else 2, 1, 12)
    step = Fraction(1, rng.randint((values[-1] + 1) // 2 + 1, 2 * values[-1]))
    factors = [1 - step * value for value in values]
    answer = max(map(abs, factors))
    steps = (
        reason,
        f"So the eigenvalues of A are {listing([str(v) for v in values])}",
        f"Every step multiplies the error by I - ({number(step)})A, with the eigenvalues "
        f"{listing([number(f) for f in factors])}",
        f"The largest absolute value is {number(answer)}",
    )
    question = rng.choice(
        (
            f"Gradient descent with step size {number(step)} minimises f(x) = \\frac{{1}}{{2}}x \\cdot Ax for A = "
            f"{matrix(rows)}. "
            "Find the smallest factor that bounds \\|x_{k+1}\\|_2/\\|x_k\\|_2 for every start.",
            f"Let f(x) = \\frac{{1}}{{2}}x \\cdot Ax with A = {matrix(rows)}. By which factor, at worst, does one "
            "gradient step of "
            f"size {number(step)} multiply the Euclidean distance to the minimiser?",
            f"What is the spectral norm of I - sA for A = {matrix(rows)} and s = {number(step)}, the worst-case rate of "
            "gradient "
            "descent?",
        )
    )
    return Exercise(question, steps, number(answer), 4 if hard else 3, {"matrix": rows, "step": str(step)})


def newton_step(rng: random.Random, hard: bool) -> Exercise:
    """One Newton step for a linear function with logarithmic barriers."""
    count, size = (4, 9) if hard else (2, 4)
    start, slope = rng.randint(-5, 5), nonzero(rng, -9, 9)
    slopes = [nonzero(rng, -size, size) for _ in range(count)]
    gaps = [rng.randint(1, size) for _ in range(count)]
    bounds = [gap + a * start for a, gap in zip(slopes, gaps, strict=True)]
    first = slope + sum(Fraction(a, gap) for a, gap in zip(slopes, gaps, strict=True))
    second = sum(Fraction(a * a, gap * gap) for a, gap in zip(slopes, gaps, strict=True))
    answer = start - first / second
    terms = [(-1, f"\\log({combine(((b, ''), (-a, 'x')))})") for a, b in zip(slopes, bounds, strict=True)]
    steps = (
        f"At x = {start} the arguments of the logarithms are {listing([str(gap) for gap in gaps])}",
        f"f'({start}) = {number(first)}",
        f"f''({start}) = {number(second)}",
        f"{start} - f'/f'' = {number(answer)}",
    )
    text = combine([(slope, "x"), *terms])
    question = rng.choice(
        (
            f"Take one full Newton step for f(x) = {text} from x = {start}. Which x results?",
            f"Newton's method minimises f(x) = {text}. Starting at {start}, what is the next iterate (step size 1)?",
            f"Let f(x) = {text}. Compute x - f'(x)/f''(x) at x = {start}.",
        )
    )
    parameters = {"slope": slope, "slopes": slopes, "bounds": bounds, "start": start}
    return Exercise(question, steps, number(answer), 4 if hard else 3, parameters)


def _descent(rng: random.Random, hard: bool) -> tuple[list[list[int]], list[int], list[int], list[int], Fraction, str]:
    """Draw x^T A x + b^T x and a start; return A, b, the start, the gradient g, g^T (2A) g and the text."""
    dimension, size = (3, 4) if hard else (2, 3)
    rows, gradient = definite(rng, dimension, size), [0]
    while not any(gradient):
        slope, start = ([rng.randint(-6, 6) for _ in range(dimension)] for _ in range(2))
        gradient = [2 * value + b for value, b in zip(times(rows, start), slope, strict=True)]
    return rows, slope, start, gradient, 2 * dot(gradient, times(rows, gradient)), quadratic(rows, slope)


def exact_line_search(rng: random.Random, hard: bool) -> Exercise:
    """The exact line search step of steepest descent on a quadratic function."""
    rows, slope, start, gradient, bend, text = _descent(rng, hard)
    answer = Fraction(dot(gradient, gradient), bend)
    steps = (
        f"The gradient is g = {vector(gradient)}, with g \\cdot g = {dot(gradient, gradient)}",
        f"With the Hessian H = {matrix([[2 * value for value in row] for row in rows])}, g \\cdot Hg = {bend}",
        f"f(x - sg) is minimal at s = g \\cdot g/(g \\cdot Hg) = {number(answer)}",
    )
    question = rng.choice(
        (
            f"Which step size s minimises f(x - s g) for f(x) = {text} at x = {vector(start)}, where g is the gradient "
            "there?",
            f"Steepest descent with exact line search is run on f(x) = {text}. Find its first step size from "
            f"{vector(start)}.",
            f"Let f(x) = {text}. Compute the exact line search step size along the negative gradient at x = "
            f"{vector(start)}.",
        )
    )
    parameters = {"matrix": rows, "slope": slope, "start": start}
    return Exercise(question, steps, number(answer), 4 if hard else 3, parameters)


def backtracking_step(rng: random.Random, hard: bool) -> Exercise:
    """The step size that backtracking accepts on a quadratic function."""
    rows, slope, start, gradient, bend, text = _descent(rng, hard)
    share, shrink = Fraction(1, rng.choice((2, 3, 4, 10))), Fraction(1, rng.choice((2, 3, 4)))
    bound = 2 * (1 - share) * dot(gradient, gradient) / bend
    answer = Fraction(1)
    while answer > bound:
        answer *= shrink
    steps = (
        f"The gradient is g = {vector(gradient)}, with g \\cdot g = {dot(gradient, gradient)} and g \\cdot Hg = {bend}",
        f"The condition says -s + s^2 \\cdot {number(Fraction(bend, 2 * dot(gradient, gradient)))} <= -({number(share)})s",
        f"So s <= {number(bound)}",
        f"The first of 1, {number(shrink)}, {number(shrink**2)}, ... that satisfies this is {number(answer)}",
    )
    rule = f"f(x - s g) <= f(x) - ({number(share)}) s \\|g\\|_2^2"
    question = rng.choice(
        (
            f"Let f(x) = {text} and g its gradient at x = {vector(start)}. Backtracking starts with s = 1 and multiplies "
            "s by "
            f"{number(shrink)} until {rule}. Which s is accepted?",
            f"At x = {vector(start)} a gradient step for f(x) = {text} uses backtracking: s = 1, then s is multiplied by "
            f"{number(shrink)} until {rule}, where g is the gradient. Find the final s.",
            f"Find the first s among 1, {number(shrink)}, {number(shrink**2)}, ... with {rule} for f(x) = {text}, "
            f"x = {vector(start)} and g the gradient of f at x.",
        )
    )
    parameters = {"matrix": rows, "slope": slope, "start": start, "share": str(share), "shrink": str(shrink)}
    return Exercise(question, steps, number(answer), 5 if hard else 4, parameters)


def frank_wolfe_step(rng: random.Random, hard: bool) -> Exercise:
    """One Frank-Wolfe step with exact line search on a scaled simplex."""
    dimension, size = (4, 9) if hard else (3, 5)
    best, gradient = [0, 0], []
    while len(best) > 1:
        bends, slope = [rng.randint(1, size) for _ in range(dimension)], [rng.randint(-size, size) for _ in range(dimension)]
        start = integers(rng, dimension, 0, 3)
        gradient = [2 * d * x + c for d, c, x in zip(bends, slope, start, strict=True)]
        best = [index for index, value in enumerate(gradient) if value == min(gradient)]
        if start[best[0]] == sum(start):  # already at that corner
            best = [0, 0]
    total = sum(start)
    corner = [total * (index == best[0]) for index in range(dimension)]
    move = [v - x for v, x in zip(corner, start, strict=True)]
    step = min(Fraction(-dot(gradient, move), 2 * sum(d * m * m for d, m in zip(bends, move, strict=True))), Fraction(1))
    answer = [x + step * m for x, m in zip(start, move, strict=True)]
    squares = [f"x_{index + 1}^2" for index in range(dimension)]
    text = combine([*zip(bends, squares, strict=True), *((c, f"x_{index + 1}") for index, c in enumerate(slope))])
    steps = (
        f"The gradient at the start is {vector(gradient)}",
        f"Its smallest entry belongs to coordinate {best[0] + 1}, so the step goes towards {vector(corner)}",
        f"Exact line search on the segment gives the fraction {number(step)}",
        f"The new point is {vector(answer)}",
    )
    simplex = f"{linear([1] * dimension)} = {total}, x >= 0"
    question = rng.choice(
        (
            f"Minimise {text} subject to {simplex}. Take one Frank-Wolfe step with exact line search from {vector(start)}. "
            "Which point results?",
            f"Let f(x) = {text} on the simplex {simplex}. Where does the conditional gradient method with exact line "
            "search go "
            f"from x = {vector(start)} in one step?",
            f"Find the next iterate of the Frank-Wolfe method (exact line search) for f(x) = {text} over {simplex}, "
            "starting at "
            f"{vector(start)}.",
        )
    )
    parameters = {"bends": bends, "slope": slope, "start": start}
    return Exercise(question, steps, vector(answer), 5 if hard else 4, parameters)
