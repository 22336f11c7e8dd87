"""Combinatorics: families of exercises with worked solutions and exact answers; one line below for each."""

from latent_trainer.data.combinatorics import (
    arrangements,
    binomials,
    catalan,
    chromatic,
    distributions,
    expectation,
    graphs,
    partitions,
    paths,
    permutations,
    pigeonhole,
    probability,
    recurrences,
    selections,
    series,
    sieve,
    symmetry,
)
from latent_trainer.data.families import Family, generate
from latent_trainer.errors import InputError
from latent_trainer.problem import Problem

FAMILIES: dict[str, Family] = {
    "drawers": pigeonhole.drawers,
    "recurrence_term": recurrences.recurrence_term,
    "seating_groups": arrangements.seating_groups,
    "word_arrangements": arrangements.word_arrangements,
    "committees": selections.committees,
    "spaced_seats": selections.spaced_seats,
    "subset_sums": selections.subset_sums,
    "subset_tuples": selections.subset_tuples,
    "ways_to_pay": partitions.ways_to_pay,
    "walks": graphs.walks,
    "matchings": graphs.matchings,
    "paths_with_obstacles": paths.paths_with_obstacles,
    "expansion_coefficient": binomials.expansion_coefficient,
    "draws_until": expectation.draws_until,
    "collecting": expectation.collecting,
    "neighbours": expectation.neighbours,
    "drawn_balls": probability.drawn_balls,
    "product_orders": permutations.product_orders,
    "cycle_types": permutations.cycle_types,
    "handshakes": catalan.handshakes,
    "triangulations": catalan.triangulations,
    "tilings": recurrences.tilings,
    "sums_closed_form": distributions.sums_closed_form,
    "occupancy_closed_form": expectation.occupancy_closed_form,
    "chromatic_polynomial": chromatic.chromatic_polynomial,
    "proper_colourings": chromatic.proper_colourings,
    "divisibility": sieve.divisibility,
    "forbidden_seats": sieve.forbidden_seats,
    "fixed_points": sieve.fixed_points,
    "bounded_sums": distributions.bounded_sums,
    "gifts": distributions.gifts,
    "blocks_closed_form": arrangements.blocks_closed_form,
    "weighted_binomial_sum": binomials.weighted_binomial_sum,
    "weighted_vandermonde": binomials.weighted_vandermonde,
    "ballot_paths": paths.ballot_paths,
    "paths_closed_form": paths.paths_closed_form,
    "bracket_sequences": catalan.bracket_sequences,
    "restricted_strings": recurrences.restricted_strings,
    "recurrence_closed_form": recurrences.recurrence_closed_form,
    "product_coefficient": series.product_coefficient,
    "series_closed_form": series.series_closed_form,
    "guaranteed_pair": pigeonhole.guaranteed_pair,
    "spanning_trees": graphs.spanning_trees,
    "teams": partitions.teams,
    "integer_partitions": partitions.integer_partitions,
    "dice_sums": probability.dice_sums,
    "nonempty_boxes_closed_form": distributions.nonempty_boxes_closed_form,
    "necklaces": symmetry.necklaces,
    "colourings_closed_form": symmetry.colourings_closed_form,
    "weighted_column_sum": binomials.weighted_column_sum,
}
HELD_OUT = ("cycle_types", "paths_closed_form", "restricted_strings", "neighbours", "chromatic_polynomial")


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
        raise InputError("dataset 'combinatorics' is generated and reads no file; leave dataset_path out")
    return generate("combinatorics", FAMILIES, HELD_OUT, split, seed, size, families)
