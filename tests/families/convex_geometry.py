"""Checks of the convex families about sets, cones, projections and proximal operators: sampling and solvers."""

from fractions import Fraction

import cvxpy as cp
import numpy as np
from convex_answers import agree, verdict
from scipy.optimize import linprog, minimize_scalar


def solved(objective, *constraints, accuracy=1e-10):
    """Return the optimal value of a convex program; logarithms need a coarser accuracy."""
    problem = cp.Problem(objective, list(constraints))
    problem.solve(solver=cp.CLARABEL, tol_gap_abs=accuracy, tol_gap_rel=accuracy, tol_feas=accuracy)
    assert problem.status == cp.OPTIMAL, problem.status
    return problem.value


def nearest(point, constraints):
    """Return the minimiser of the distance to a point."""
    x = cp.Variable(len(point))
    solved(cp.Minimize(cp.sum_squares(x - np.array(point))), *constraints(x))
    return x.value


def members(kind, numbers, x, y):
    """Tell, up to rounding, which points belong to a set of the family on convex sets."""
    if kind == "conic":
        a, b, c, d = numbers
        return a * x * x + b * x * y + c * y * y <= d + 1e-9
    if kind == "parabola":
        a, b, c, d, below = numbers
        return (a * x * x + b * x + c * y - d) * (1 if below else -1) <= 1e-9
    if kind == "hyperbola":
        p, q, c = numbers
        return (x > p) & ((x - p) * (y - q) >= c - 1e-9)
    if kind == "disc":
        p, q, outer, inner = numbers
        return (x * x + y * y <= outer**2 + 1e-9) & ((x - p) ** 2 + (y - q) ** 2 >= inner**2 - 1e-9)
    bottom, top, low, middle, start, end = numbers
    return (bottom <= y) & (y <= top) & (((low <= x) & (x <= middle)) | ((start <= x) & (x <= end)))


def check_set_convexity(p, answer):
    rng, numbers = np.random.default_rng(0), p["numbers"]
    if p["kind"] == "conic":  # an indefinite form has members far out
        angle = np.linspace(0, np.pi, 721)
        directions = np.stack((np.cos(angle), np.sin(angle)))
        far = 1e3 * directions[:, members("conic", numbers, *(1e3 * directions))]
        near = rng.normal(scale=3, size=(2, 300))
        points = np.concatenate((far, -far, near), axis=1)
    elif p["kind"] == "parabola":
        a, b, c, d, _ = numbers
        x = rng.uniform(-9, 9, size=300)
        points = np.stack((x, (d - a * x * x - b * x) / c + rng.choice((-1e-6, 1e-6, 1, -1), size=300)))
    elif p["kind"] == "hyperbola":
        px, q, c = numbers
        x = px + np.exp(rng.uniform(-3, 4, size=300))
        points = np.stack((x, q + c / (x - px) + rng.choice((0, 1), size=300)))
    elif p["kind"] == "disc":
        angle, scale = rng.uniform(0, 2 * np.pi, size=1200), numbers[2]
        points = np.stack((np.cos(angle), np.sin(angle))) * scale
        towards = np.array(numbers[:2]) / np.hypot(*numbers[:2])
        tip = np.hypot(*numbers[:2]) - numbers[3]  # where the removed disc comes nearest to the origin
        across = np.array([-towards[1], towards[0]])
        edge = [tip * towards + s * across for s in np.linspace(-1e-1, 1e-1, 9)]
        points = np.concatenate((points, np.array(edge).T), axis=1)
    else:
        bottom, top, low, _, _, end = numbers
        points = np.stack((rng.uniform(low, end, 300), rng.uniform(bottom, top, 300)))
    points = points[:, members(p["kind"], numbers, *points)][:, :400]
    middles = (points[:, :, None] + points[:, None, :]) / 2
    verdict(answer, np.all(members(p["kind"], numbers, *middles)))


def check_support_polytope(p, answer):
    points, direction = np.array(p["points"]), np.array(p["direction"])
    rows = np.vstack((points.T, np.ones(len(points))))  # unknown: masses of the points
    agree(answer, -linprog(-direction @ points.T, A_eq=rows[-1:], b_eq=[1]).fun)


def check_support_ellipsoid(p, answer):
    x = cp.Variable(len(p["axes"]))
    ball = cp.norm((x - np.array(p["centre"])) / np.array(p["axes"])) <= 1
    agree(answer, solved(cp.Maximize(np.array(p["direction"]) @ x), ball))


def check_support_sum(p, answer):
    u, v = cp.Variable(len(p["low"])), cp.Variable(len(p["low"]))
    inside = u >= np.array(p["low"]), u <= np.array(p["high"]), cp.norm(v) <= p["radius"]
    agree(answer, solved(cp.Maximize(np.array(p["direction"]) @ (u + v)), *inside))


def check_dual_norm(p, answer):
    x = cp.Variable(len(p["at"]))
    norm = {"sum": "1", "maximum": "inf", "euclidean": "2"}[p["kind"]]
    unit = cp.norm(cp.multiply(np.array(p["weights"]), x), norm if norm == "inf" else int(norm)) <= 1
    agree(answer, solved(cp.Maximize(np.array(p["at"]) @ x), unit))


def check_dual_cone(p, answer):
    lowest = linprog(p["target"], -np.array(p["rows"]), np.zeros(len(p["rows"])), bounds=(-1, 1)).fun
    verdict(answer, lowest >= -1e-7)


def check_dual_cone_bound(p, answer):
    x = cp.Variable(len(p["head"]))
    lowest = solved(cp.Minimize(np.array(p["head"]) @ x), cp.norm(x) <= float(Fraction(p["slope"])))
    agree(answer, -lowest)  # y x + s t is not negative for t = 1 exactly if s is at least this


def check_distance_to_box(p, answer):
    x = nearest(p["point"], lambda x: [x >= np.array(p["low"]), x <= np.array(p["high"])])
    agree(answer, np.sum((x - p["point"]) ** 2))


def check_project_halfspace(p, answer):
    agree(answer, nearest(p["point"], lambda x: [np.array(p["normal"]) @ x <= p["bound"]]))


def check_project_line(p, answer):
    s = cp.Variable(nonneg=p["ray"])
    base, direction = np.array(p["base"]), np.array(p["direction"])
    solved(cp.Minimize(cp.sum_squares(base + s * direction - np.array(p["point"]))))
    agree(answer, base + s.value * direction, 1e-3)  # a flat objective leaves the solver far from exact


def check_project_ball(p, answer):
    agree(answer, nearest(p["point"], lambda x: [cp.norm(x - np.array(p["centre"])) <= p["radius"]]))


def check_project_simplex(p, answer):
    agree(answer, nearest(p["point"], lambda x: [x >= 0, cp.sum(x) == p["total"]]), 1e-3)


def check_project_second_order_cone(p, answer):
    # at the apex the solver stops early
    agree(answer, nearest([*p["head"], p["height"]], lambda x: [cp.SOC(x[-1], x[:-1])]), 3e-3)


def check_distance_to_polyhedron(p, answer):
    x = nearest(p["point"], lambda x: [np.array(p["normals"]) @ x <= np.array(p["bounds"])])
    agree(answer, np.sum((x - p["point"]) ** 2))


def lowest_point(function, low, high):
    """Return the minimiser of a convex function on an interval."""
    return minimize_scalar(function, bounds=(low, high), method="bounded", options={"xatol": 1e-9}).x


def check_prox_l1(p, answer):
    pairs = [(float(Fraction(w)), v) for w, v in zip(p["weights"], p["point"], strict=True)]
    agree(answer, [lowest_point(lambda x, w=w, v=v: w * abs(x) + (x - v) ** 2 / 2, -40, 41) for w, v in pairs], 1e-4)


def check_prox_elastic(p, answer):
    def f(x):
        return p["bend"] / 2 * x * x + p["slope"] * x + p["weight"] * abs(x) + (x - p["point"]) ** 2 / 2

    agree(answer, lowest_point(f, *p["interval"]), 1e-4)


def check_prox_norm(p, answer):
    x = cp.Variable(len(p["point"]))
    solved(cp.Minimize(p["weight"] * cp.norm(x) + cp.sum_squares(x - np.array(p["point"])) / 2))
    agree(answer, x.value, 1e-3)


def check_prox_quadratic(p, answer):
    x = cp.Variable(len(p["point"]))
    root = np.linalg.cholesky(np.array(p["matrix"], float))
    smooth = cp.sum_squares(root.T @ x) + np.array(p["slope"]) @ x
    solved(cp.Minimize(smooth + cp.sum_squares(x - np.array(p["point"])) / 2))
    agree(answer, x.value, 1e-3)


def check_prox_logarithm(p, answer):
    weight, point = float(Fraction(p["weight"])), float(Fraction(p["point"]))
    agree(answer, lowest_point(lambda x: p["slope"] * x - weight * np.log(x) + (x - point) ** 2 / 2, 1e-9, 99), 1e-4)


def check_moreau_envelope(p, answer):
    total = 0
    for w, v in zip(p["weights"], p["point"], strict=True):
        x = lowest_point(lambda x, w=w, v=v: w * abs(x) + (x - v) ** 2 / (2 * p["scale"]), -20, 21)
        total += w * abs(x) + (x - v) ** 2 / (2 * p["scale"])
    agree(answer, total)


def check_proximal_gradient_step(p, answer):
    matrix, slope, start = (np.array(p[name], float) for name in ("matrix", "slope", "start"))
    step = float(Fraction(p["step"]))

    def smooth(x):
        return x @ matrix @ x + slope @ x

    gradient = [(smooth(start + e) - smooth(start - e)) / 2 for e in np.eye(len(start))]
    x = cp.Variable(len(start))
    model = np.array(gradient) @ x + cp.sum_squares(x - start) / (2 * step) + p["weight"] * cp.norm1(x)
    solved(cp.Minimize(model))
    agree(answer, x.value, 1e-3)


CHECKS = {name.removeprefix("check_"): check for name, check in list(globals().items()) if name.startswith("check_")}
