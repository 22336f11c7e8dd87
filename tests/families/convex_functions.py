"""Checks of the convex families about functions and conjugates: sampling, finite differences, numeric suprema."""

from fractions import Fraction

import numpy as np
from convex_answers import agree, agree_formula, evaluate, numbers, verdict
from scipy.optimize import linprog, lsq_linear, minimize, minimize_scalar

GRID = np.concatenate((np.linspace(-13, 13, 1041), np.linspace(-2, 2, 801)))


def bends_down(function, points):
    """Tell whether some midpoint of three consecutive points lies above the chord."""
    with np.errstate(all="ignore"):
        values = np.array([function(x) for x in points]) if not isinstance(points, np.ndarray) else function(points)
        left, middle, right = values[:-2], values[1:-1], values[2:]
        excess = middle - (left + right) / 2
        return bool(np.any(excess > 1e-9 * (1 + np.abs(left) + np.abs(right))))


def check_quadratic_convexity(p, answer):
    hessian, slope = np.array(p["hessian"], float), np.array(p["slope"], float)
    rng = np.random.default_rng(0)
    lowest = np.linalg.eigh(hessian)[1][:, 0]
    ends = np.concatenate((rng.normal(size=(200, 2, len(slope))), [[lowest, -lowest]]))

    def f(x):
        return np.einsum("...i,ij,...j", x, hessian, x) / 2 + x @ slope

    verdict(answer, np.all(f(ends.mean(1)) <= f(ends).mean(1) + 1e-9))


def check_polynomial_convexity(p, answer):
    grids = [np.linspace(*p["interval"], number) for number in (801, 81)]  # a shallow bend shows over wider steps only
    verdict(answer, not any(bends_down(lambda x: np.polyval(p["polynomial"], x), grid) for grid in grids))


def check_convexity_interval(p, answer):
    low, high = numbers(answer)
    step = 1e-3

    def bend(x):
        f = np.polyval(np.array(p["polynomial"], float), np.array([x - step, x, x + step]))
        return f[0] - 2 * f[1] + f[2]

    assert all(bend(x) > 0 for x in np.linspace(low + 0.01, high - 0.01, 9)), f"not convex on all of {answer}"
    assert bend(low - 0.01) < 0 and bend(high + 0.01) < 0, f"{answer} is not the largest interval"


def check_convex_parameter(p, answer):
    def lowest(t):
        half = p["slope"] * t - p["shift"]
        matrix = [[p["a"], half, 0], [half, p["c"], p["extra"]], [0, p["extra"], 1]]
        return np.linalg.eigvalsh(matrix)[0]

    low, high = numbers(answer)
    assert abs(lowest(low)) < 1e-9 and abs(lowest(high)) < 1e-9, f"the ends of {answer} are not on the boundary"
    assert lowest(low - 1e-2) < 0 < lowest((low + high) / 2) and lowest(high + 1e-2) < 0, f"{answer} is not the set"


def term(kind, a, b, c, signed):
    return {
        "exponential": lambda x: np.exp(signed * x**2 + b * x),
        "logarithm": lambda x: signed * np.log(a * x + b),
        "power": lambda x: (a * x + b) ** signed,
        "root": lambda x: signed * np.sqrt(a * x**2 + b),
        "extreme": lambda x: (np.maximum if signed > 0 else np.minimum)(a * x + b, -c * x + abs(signed)),
        "reciprocal": lambda x: signed / (a * x + b),
    }[kind]


def check_composition_convexity(p, answer):
    violated = False
    for kind, a, b, c, signed in p["terms"]:
        for part in (GRID[:1041], GRID[1041:]):
            part = part[a * part + b > 0] if kind in ("logarithm", "reciprocal") else part
            f = term(kind, a, b, c, signed)
            violated |= bends_down(lambda x, f=f: f(x) + p["slope"] * x, part)
    verdict(answer, not violated)


def check_quasiconvexity(p, answer):
    values = np.polyval(np.array(p["polynomial"], float), np.linspace(-16, 16, 6401))
    ends = np.minimum.accumulate(values), np.minimum.accumulate(values[::-1])[::-1]
    # quasiconvex: nothing is higher than some point to its left and some point to its right
    verdict(answer, not np.any(values > np.maximum(*ends) + 1e-8))


def check_sublevel_interval(p, answer):
    low, high = numbers(answer)

    def inside(x):
        return np.polyval(p["numerator"], x) / (x - p["pole"]) <= p["level"]

    assert low > p["pole"]
    assert np.all(inside(np.linspace(low + 1e-6, high - 1e-6, 50))), f"{answer} contains other points"
    outside = np.concatenate((np.linspace(p["pole"] + 1e-6, low - 1e-6, 50), np.linspace(high + 1e-6, high + 99, 50)))
    assert not np.any(inside(outside)), f"{answer} misses points"


def check_tangent_bound(p, answer):
    target = np.array(p["target"])
    rows, bounds = [], []
    for point, slope, value in zip(p["points"], p["subgradients"], p["values"], strict=True):
        rows.append([-1, *[0] * len(target)])  # unknown: the value at the target and a subgradient there
        bounds.append(-value - np.dot(slope, target - point))
        rows.append([1, *(np.array(point) - target)])
        bounds.append(value)
    agree(answer, linprog([1, *[0] * len(target)], rows, bounds, bounds=(None, None)).fun)


def check_convex_interpolation(p, answer):
    places, count = [*p["places"], p["at"]], len(p["places"]) + 1
    rows, bounds = [], []
    for i in range(count):
        for j in range(count):
            if i != j:  # value_i + slope_i (x_j - x_i) <= value_j, the last value unknown
                row = np.zeros(1 + count)
                row[1 + i] = places[j] - places[i]
                row[0] = (i == count - 1) - (j == count - 1)
                rows.append(row)
                bounds.append((p["heights"][j] if j < count - 1 else 0) - (p["heights"][i] if i < count - 1 else 0))
    ends = [sign * linprog([sign, *[0] * count], rows, bounds, bounds=(None, None)).fun for sign in (1, -1)]
    agree(answer, ends)


def check_convex_envelope(p, answer):
    masses = [p["places"], [1] * len(p["places"])]
    agree(answer, linprog(p["heights"], A_eq=masses, b_eq=[p["at"], 1]).fun)


def check_subdifferential(p, answer):
    def f(x):
        kinks = sum(w * abs(x - k) for w, k in zip(p["weights"], p["kinks"], strict=True))
        return kinks + p["bend"] * x * x + p["slope"] * x

    at, step = p["at"], 1e-5
    agree(answer, [(f(at) - f(at - step)) / step, (f(at + step) - f(at)) / step], 1e-3)


def check_minimal_subgradient(p, answer):
    signs = np.sign(p["at"])
    low, high = np.where(signs == 0, -1, signs) - 1e-9, np.where(signs == 0, 1, signs) + 1e-9
    agree(answer, (fit := lsq_linear(np.diag(p["weights"]), -np.array(p["slope"]), (low, high), tol=1e-12)).fun, 1e-4)
    assert fit.success


def check_epigraph_membership(p, answer):
    x, t = p["point"]
    highest = -linprog([-1], [[1]], [t - p["bend"] * x * x], bounds=(None, None)).fun
    verdict(answer, all(a * x + b <= highest + 1e-9 for a, b in p["lines"]))


def supremum(function, low, high):
    """Return the largest value of a concave function on an interval."""
    return -minimize_scalar(lambda x: -function(x), bounds=(low, high), method="bounded", options={"xatol": 1e-10}).fun


def check_conjugate_quadratic(p, answer):
    a, b, c = p["coefficients"]
    for y in (b - 3.7, b + 2.2):
        agree_formula(answer, supremum(lambda x, y=y: x * y - a * x * x - b * x - c, -9, 9), y=y)


def check_conjugate_logarithm(p, answer):
    a, b, c = p["coefficients"]
    for y in (b - 0.7 * a, b - 2.2 * a):
        agree_formula(answer, supremum(lambda x, y=y: x * y + a * np.log(x) - b * x - c, 1e-9, 9), y=y)


def check_conjugate_exponential(p, answer):
    a, rate, b, c = p["coefficients"]
    for y in (b + 0.7 * a, b + 3.2 * a):
        agree_formula(answer, supremum(lambda x, y=y: x * y - a * np.exp(rate * x) - b * x - c, -9, 9), y=y)


def check_conjugate_value(p, answer):
    matrix, slope = np.array(p["matrix"], float), np.array(p["slope"], float)
    at = np.array(p["at"], float)
    found = minimize(
        lambda x: (x @ matrix @ x + slope @ x - at @ x, 2 * matrix @ x + slope - at), np.zeros(len(at)), jac=True, tol=1e-10
    )
    agree(answer, -found.fun - p["shift"])


def check_conjugate_piecewise(p, answer):
    y = float(Fraction(p["at"]))
    rows, bounds = [[a, -1] for a, _ in p["lines"]], [-b for _, b in p["lines"]]
    agree(answer, -linprog([-y, 1], rows, bounds, bounds=(None, None)).fun)


def check_perspective(p, answer):
    def f(x):
        whole = p["slope"] * x + p["shift"]
        for kind, a, b in p["pieces"]:
            factor = a * x - b
            whole += {
                "square": lambda factor=factor: factor**2,
                "fourth": lambda factor=factor: factor**4,
                "logarithm": lambda a=a, b=b: -a * np.log(b * x),
                "exponential": lambda a=a, b=b: a * np.exp(b * x),
                "root": lambda a=a, b=b: np.sqrt(a * x * x + b),
            }[kind]()
        return whole

    for x, t in ((0.6, 1.7), (1.9, 2.3)):
        assert np.isclose(evaluate(answer, x=x, t=t), t * f(x / t), rtol=1e-11), f"{answer} is not t f(x/t)"


CHECKS = {name.removeprefix("check_"): check for name, check in list(globals().items()) if name.startswith("check_")}
