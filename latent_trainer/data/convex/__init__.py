"""Convex optimisation: families of exercises with worked solutions and exact answers; one line below for each."""

from latent_trainer.data.convex import (
    algorithms,
    bounds,
    cones,
    conjugates,
    curvature,
    duality,
    fitting,
    functions,
    programs,
    projections,
    proximal,
    sets,
)
from latent_trainer.data.families import Family, generate
from latent_trainer.errors import InputError
from latent_trainer.problem import Problem

FAMILIES: dict[str, Family] = {
    "epigraph_membership": bounds.epigraph_membership,
    "distance_to_box": projections.distance_to_box,
    "support_polytope": sets.support_polytope,
    "prox_l1": proximal.prox_l1,
    "tangent_bound": bounds.tangent_bound,
    "quadratic_convexity": functions.quadratic_convexity,
    "composition_convexity": curvature.composition_convexity,
    "set_convexity": sets.set_convexity,
    "subdifferential": bounds.subdifferential,
    "support_sum": sets.support_sum,
    "dual_norm": cones.dual_norm,
    "dual_cone_bound": cones.dual_cone_bound,
    "conjugate_quadratic": conjugates.conjugate_quadratic,
    "perspective": conjugates.perspective,
    "line_fit": fitting.line_fit,
    "project_halfspace": projections.project_halfspace,
    "project_ball": projections.project_ball,
    "prox_norm": proximal.prox_norm,
    "strong_convexity": algorithms.strong_convexity,
    "condition_number": algorithms.condition_number,
    "polynomial_convexity": functions.polynomial_convexity,
    "convexity_interval": functions.convexity_interval,
    "convex_parameter": functions.convex_parameter,
    "quasiconvexity": curvature.quasiconvexity,
    "sublevel_interval": curvature.sublevel_interval,
    "convex_interpolation": bounds.convex_interpolation,
    "convex_envelope": bounds.convex_envelope,
    "minimal_subgradient": bounds.minimal_subgradient,
    "conjugate_logarithm": conjugates.conjugate_logarithm,
    "conjugate_exponential": conjugates.conjugate_exponential,
    "conjugate_value": conjugates.conjugate_value,
    "conjugate_piecewise": conjugates.conjugate_piecewise,
    "support_ellipsoid": sets.support_ellipsoid,
    "dual_cone": cones.dual_cone,
    "project_line": projections.project_line,
    "project_simplex": projections.project_simplex,
    "project_second_order_cone": projections.project_second_order_cone,
    "prox_elastic": proximal.prox_elastic,
    "prox_quadratic": proximal.prox_quadratic,
    "prox_logarithm": proximal.prox_logarithm,
    "moreau_envelope": proximal.moreau_envelope,
    "proximal_gradient_step": proximal.proximal_gradient_step,
    "lp_vertices": programs.lp_vertices,
    "minimax_affine": programs.minimax_affine,
    "chebyshev_radius": programs.chebyshev_radius,
    "shortest_path": programs.shortest_path,
    "eigenvalue_program": programs.eigenvalue_program,
    "schur_program": programs.schur_program,
    "geometric_program": programs.geometric_program,
    "ridge": fitting.ridge,
    "log_sum_exp_curvature": fitting.log_sum_exp_curvature,
    "entropy_maximum": fitting.entropy_maximum,
    "kl_projection": fitting.kl_projection,
    "water_filling": fitting.water_filling,
    "dual_function": duality.dual_function,
    "kkt_multiplier": duality.kkt_multiplier,
    "duality_gap": duality.duality_gap,
    "step_bound": algorithms.step_bound,
    "contraction_factor": algorithms.contraction_factor,
    "newton_step": algorithms.newton_step,
    "exact_line_search": algorithms.exact_line_search,
    "distance_to_polyhedron": projections.distance_to_polyhedron,
    "value_function": duality.value_function,
    "lp_multipliers": duality.lp_multipliers,
    "backtracking_step": algorithms.backtracking_step,
    "frank_wolfe_step": algorithms.frank_wolfe_step,
}
HELD_OUT = ("quasiconvexity", "conjugate_piecewise", "project_simplex", "lp_multipliers", "exact_line_search")


def load(
    split: str, path: str | None = None, seed: int = 0, size: int | None = None, families: list[str] | None = None
) -> list[Problem]:
    """Generate different problems, the families in turn.

    Args:
        split: train, validation, test, test_families (families never trained on) or test_harder (larger parameters).
        path: not taken.
        seed: decides which problems are drawn.
        size: number of problems.
        families: draw from these families only.

    Raises:
        ValueError: a path is given, an unknown family, or fewer different problems exist than asked for.
    """
    if path is not None:
        raise InputError("dataset 'convex' is generated and reads no file; leave dataset_path out")
    return generate("convex", FAMILIES, HELD_OUT, split, seed, size, families)
