"""Checks of the convex families: every answer by another route than the family's own, from the parameters alone."""

import convex_functions
import convex_geometry
import convex_programs

CHECKS = {**convex_functions.CHECKS, **convex_geometry.CHECKS, **convex_programs.CHECKS}
