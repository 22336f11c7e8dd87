"""A part by its name with its options in one mapping: ``objective: {name: self_distillation, factor: 2}``."""

from dataclasses import fields

from latent_trainer.errors import InputError
from latent_trainer.methods.curriculum import CURRICULA
from latent_trainer.methods.objectives import OBJECTIVES
from latent_trainer.options import check_options
from latent_trainer.rollout import ROLLOUTS

PARTS = ("objective", "feedback", "rollout", "curriculum")
# The options of the library's own curricula are fields of the training arguments, under these names where they differ.
AS_FIELDS = {
    "internalize": {
        "per_stage": "internalize_per_stage",
        "unit": "internalize_unit",
        "smoothing": "internalize_smoothing",
    },
}
OWN_CURRICULA = ("fixed", "staged", "internalize")


def unfold(args) -> None:
    """Turn mappings with a name into a name and its options, as the arguments hold them.

    Args:
        args: `LatentTrainingArguments`; changed in place.

    Raises:
        InputError: a mapping without a name, or options that are given beside it too; in one line.
    """
    for part in PARTS:
        given = getattr(args, part)
        if not isinstance(given, dict):
            continue
        options = dict(given)
        name = options.pop("name", None)
        if not isinstance(name, str):
            raise InputError(f"{part}={given} has no name; write {part}: {{name: ..., option: value}}")
        setattr(args, part, name)
        if options and getattr(args, f"{part}_options"):
            raise InputError(f"options of {part} stand in {part} and in {part}_options; keep one of them")
        if options:
            setattr(args, f"{part}_options", options)


def as_fields(curriculum: str, options: dict) -> dict:
    """Return options of one of the library's own curricula under the names of the training arguments that hold them."""
    names = AS_FIELDS.get(curriculum, {})
    return {names.get(option, option): value for option, value in options.items()}


def check_curriculum(curriculum: str, options: dict | None) -> dict:
    """Return a curriculum's options as it declares them; a one-line `InputError` for what it does not have or admit."""
    return check_options(f"curriculum '{curriculum}'", CURRICULA[curriculum], options or {}, setting="curriculum_options")


def unfold_curriculum(args) -> None:
    """Take the options of one of the library's own curricula over into the fields that hold them.

    Raises:
        InputError: an option the curriculum does not have, a value it does not admit, or one that is given twice.
    """
    if args.curriculum_options is None or args.curriculum not in OWN_CURRICULA:
        return
    for name, value in as_fields(args.curriculum, check_curriculum(args.curriculum, args.curriculum_options)).items():
        usual = type(args).__dataclass_fields__[name].default
        if getattr(args, name) not in (usual, value):
            raise InputError(f"{name}={getattr(args, name)} and {value} in curriculum_options are both given; keep one")
        setattr(args, name, value)
    args.curriculum_options = None


def share_with_curriculum(args) -> None:
    """Fill in options of objective and rollout that the curriculum has, too, and that were left unset.

    So a number that several parts must agree on, latents_per_step for one, is given once, and a saved model knows it
    without its curriculum.

    Args:
        args: `LatentTrainingArguments` with their choices made; changed in place. An option counts as left unset where it is
            not given and its default is None.

    Raises:
        InputError: one that is given and is not the curriculum's.
    """
    curriculum = args.make_curriculum()
    shared = {one.name: getattr(curriculum, one.name) for one in fields(curriculum)}
    for part, kind in (("objective", OBJECTIVES[args.objective]), ("rollout", ROLLOUTS[args.rollout])):
        options = getattr(args, f"{part}_options") or {}
        names = [one.name for one in fields(kind.Options) if one.default is None and shared.get(one.name) is not None]
        if not names or not isinstance(options, dict):  # anything else is refused where the options are checked
            continue
        for name in names:
            if options.get(name) not in (None, shared[name]):
                raise InputError(
                    f"{part}_options.{name}={options[name]} is not the curriculum's {name}={shared[name]}; leave it out"
                )
        setattr(args, f"{part}_options", {**options, **{name: shared[name] for name in names}})
