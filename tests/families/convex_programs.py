"""Checks of the convex families about programs, duality, fitting and algorithms: solvers and simulation."""

from fractions import Fraction

import cvxpy as cp
import numpy as np
from convex_answers import agree, agree_formula, numbers
from convex_geometry import lowest_point, solved
from scipy.optimize import linprog, minimize


def equation_program(p, right):
    """Return the minimum of a separable quadratic function under one equation, from its optimality system."""
    bends, slope, normal = (np.array(p[name], float) for name in ("bends", "slope", "normal"))
    system = np.block([[np.diag(2 * bends), normal[:, None]], [normal[None, :], np.zeros((1, 1))]])
    x = np.linalg.solve(system, [*-slope, right])[:-1]
    return bends @ x**2 + slope @ x


def check_dual_function(p, answer):
    bends, slope, normal = (np.array(p[name], float) for name in ("bends", "slope", "normal"))
    for multiplier in (-1.3, 0.4, 2.0):

        def lagrangian(x, multiplier=multiplier):
            value = bends @ x**2 + slope @ x + multiplier * (normal @ x - p["bound"])
            return value, 2 * bends * x + slope + multiplier * normal

        lowest = minimize(lagrangian, np.zeros(len(bends)), jac=True, tol=1e-10).fun
        agree_formula(answer, lowest, L=multiplier)


def check_value_function(p, answer):
    for right in (-2.0, 0.5, 3.0):
        agree_formula(answer, equation_program(p, right), u=right)


def check_kkt_multiplier(p, answer):
    x = cp.Variable(len(p["bends"]))
    constraint = np.array(p["normal"]) @ x <= p["bound"]
    goal = np.array(p["bends"]) @ x**2 + np.array(p["slope"]) @ x
    solved(cp.Minimize(goal), constraint)
    agree(answer, constraint.dual_value, 1e-3)


def check_lp_multipliers(p, answer):
    result = linprog(-np.array(p["cost"]), p["rows"], p["bounds"], bounds=(None, None))
    agree(answer, -result.ineqlin.marginals)


def check_duality_gap(p, answer):
    rows, point, multipliers = (np.array(p[name], float) for name in ("rows", "point", "multipliers"))
    assert np.all(rows @ point >= p["bounds"]) and np.all(multipliers >= 0), "the pair is not feasible"

    def lagrangian(x):
        return x @ x / 2 + multipliers @ (p["bounds"] - rows @ x), x - rows.T @ multipliers

    agree(answer, point @ point / 2 - minimize(lagrangian, np.zeros(len(point)), jac=True, tol=1e-10).fun)


def check_lp_vertices(p, answer):
    agree(answer, -linprog(-np.array(p["cost"]), p["rows"], p["bounds"]).fun)


def check_minimax_affine(p, answer):
    agree(answer, linprog([0, 1], [[a, -1] for a, _ in p["lines"]], [-b for _, b in p["lines"]], bounds=(None, None)).fun)


def check_chebyshev_radius(p, answer):
    (a, b), (left, bottom) = p["normal"], p["corner"]
    rows, bounds = [[a, b], [-1, 0], [0, -1]], [p["bound"], -left, -bottom]
    if p["width"] is not None:
        rows, bounds = [*rows, [1, 0]], [*bounds, left + p["width"]]
    lengths = np.linalg.norm(rows, axis=1)[:, None]
    agree(answer, -linprog([0, 0, -1], np.hstack((rows, lengths)), bounds, bounds=(None, None)).fun)


def check_shortest_path(p, answer):
    stops = [p["start"], *[None] * (len(p["heights"]) - 1), p["end"]]

    def length(free):
        places = np.array([stops[0], *free, stops[-1]], float)
        return np.sum(np.hypot(np.diff(places), p["heights"]))

    middle = np.linspace(p["start"], p["end"], len(stops))[1:-1]
    agree_formula(answer, minimize(length, middle, tol=1e-9).fun)


def check_eigenvalue_program(p, answer):
    (t,) = numbers(answer)
    sign = 1 if p["upper"] else -1
    matrix = np.array(p["matrix"])
    lowest = [np.linalg.eigvalsh(sign * ((t + sign * move) * np.eye(len(matrix)) - matrix))[0] for move in (0, -0.1)]
    assert lowest[0] > -1e-9 > -0.09 > lowest[1], f"{answer} is not the last feasible t"


def check_schur_program(p, answer):
    (t,) = numbers(answer)
    matrix, border = np.array(p["matrix"]), np.array(p["border"])[:, None]
    at, below = (np.linalg.eigvalsh(np.block([[matrix, border], [border.T, s]]))[0] for s in (t, t - 1e-3))
    assert abs(at) < 1e-9 and below < -1e-6, f"{answer} is not the smallest t"


def check_geometric_program(p, answer):
    a, b, c, d = p["coefficients"]

    def total(logs):
        x, y = np.exp(logs)
        return a * x / y + b * y / x + c * x * y + d / (x * y)

    agree_formula(answer, minimize(total, [0, 0], tol=1e-8).fun)


def check_line_fit(p, answer):
    agree(answer, np.polyfit(p["places"], p["heights"], 1)[::-1])


def check_ridge(p, answer):
    size = len(p["rows"][0])
    rows = np.vstack((p["rows"], np.sqrt(p["weight"]) * np.eye(size)))
    agree(answer, np.linalg.lstsq(rows, [*p["right"], *[0] * size])[0])


def check_log_sum_exp_curvature(p, answer):
    at, step = np.log(p["base"]), 1e-3
    x = at + step * np.array([[-2], [-1], [0], [1], [2]])
    f = np.log(np.sum(np.array(p["weights"]) * np.exp(np.array(p["rates"]) * x), axis=1))
    agree(answer, np.dot([-1, 16, -30, 16, -1], f) / (12 * step**2), 1e-4)


def check_entropy_maximum(p, answer):
    mass = cp.Variable(len(p["weights"]))
    goal = np.log(p["weights"]) @ mass + cp.sum(cp.entr(mass))
    agree_formula(answer, p["factor"] * solved(cp.Maximize(goal), cp.sum(mass) == 1, accuracy=1e-8))


def check_kl_projection(p, answer):
    q = np.array([float(Fraction(value)) for value in p["q"]])
    mass = cp.Variable(len(q))
    event = cp.sum(mass[: p["event"]]) == float(Fraction(p["target"]))
    solved(cp.Minimize(cp.sum(cp.rel_entr(mass, q))), cp.sum(mass) == 1, event, accuracy=1e-8)
    agree(answer, mass.value, 1e-3)


def check_water_filling(p, answer):
    power, noise, given = cp.Variable(len(p["noise"]), nonneg=True), np.array(p["noise"]), np.array(numbers(answer))
    best = solved(cp.Maximize(cp.sum(cp.log(power + noise))), cp.sum(power) == p["power"], accuracy=1e-8)
    assert np.all(given >= 0) and np.isclose(given.sum(), p["power"], rtol=1e-12), f"{answer} is not feasible"
    assert np.sum(np.log(given + noise)) >= best - 1e-6, f"{answer} is worse than {power.value}"


def check_strong_convexity(p, answer):
    (constant,) = numbers(answer)
    angles = np.random.default_rng(0).normal(size=(len(p["hessian"]), 4000))
    angles /= np.linalg.norm(angles, axis=0)
    bends = np.einsum("in,ij,jn->n", angles, np.array(p["hessian"]), angles)
    exact = np.linalg.eigvalsh(p["hessian"])
    assert bends.max() <= constant + 1e-9 if p["smooth"] else bends.min() >= constant - 1e-9, f"{answer} is no bound"
    agree(answer, exact[-1] if p["smooth"] else exact[0])


def check_condition_number(p, answer):
    agree(answer, np.linalg.cond(np.array(p["matrix"]) + p["weight"] * np.eye(len(p["matrix"]))))


def check_step_bound(p, answer):
    (bound,) = numbers(answer)
    matrix, right = np.array(p["matrix"], float), np.array(p["right"], float)
    factor = 1 if p["half"] else 2
    sizes = []
    for step in (0.97 * bound, 1.03 * bound):
        x = np.random.default_rng(0).normal(size=len(right))
        for _ in range(400):
            old, x = x, x - step * factor * matrix @ (matrix @ x - right)
        sizes.append(np.linalg.norm(x - old))
    assert sizes[0] < 1 < 10 < sizes[1], f"{answer} does not divide convergence from divergence: {sizes}"


def check_contraction_factor(p, answer):
    step = np.eye(len(p["matrix"])) - float(Fraction(p["step"])) * np.array(p["matrix"])
    agree(answer, np.linalg.norm(np.linalg.matrix_power(step, 16), 2) ** (1 / 16))  # sixteen steps at once


def check_newton_step(p, answer):
    def f(x):
        return p["slope"] * x - sum(np.log(b - a * x) for a, b in zip(p["slopes"], p["bounds"], strict=True))

    x, step = p["start"], 1e-3
    values = np.array([f(x + k * step) for k in (-2, -1, 0, 1, 2)])
    first = np.dot([1, -8, 0, 8, -1], values) / (12 * step)
    second = np.dot([-1, 16, -30, 16, -1], values) / (12 * step**2)
    agree(answer, x - first / second, 1e-4)


def descent(p):
    """Return the function, the start and the gradient there by differences."""
    matrix, slope, start = (np.array(p[name], float) for name in ("matrix", "slope", "start"))

    def f(x):
        return x @ matrix @ x + slope @ x

    return f, start, np.array([(f(start + e) - f(start - e)) / 2 for e in np.eye(len(start))])


def check_exact_line_search(p, answer):
    f, start, gradient = descent(p)
    agree(answer, lowest_point(lambda s: f(start - s * gradient), 0, 2), 1e-4)


def check_backtracking_step(p, answer):
    f, start, gradient = descent(p)
    step = 1.0
    while f(start - step * gradient) > f(start) - float(Fraction(p["share"])) * step * gradient @ gradient + 1e-9:
        step *= float(Fraction(p["shrink"]))
    agree(answer, step)


def check_frank_wolfe_step(p, answer):
    bends, slope, start = (np.array(p[name], float) for name in ("bends", "slope", "start"))

    def f(x):
        return bends @ x**2 + slope @ x

    gradient = np.array([(f(start + e) - f(start - e)) / 2 for e in np.eye(len(start))])
    corner = linprog(gradient, A_eq=[[1] * len(start)], b_eq=[start.sum()]).x
    step = lowest_point(lambda s: f(start + s * (corner - start)), 0, 1)
    agree(answer, start + step * (corner - start), 1e-4)


CHECKS = {name.removeprefix("check_"): check for name, check in list(globals().items()) if name.startswith("check_")}
