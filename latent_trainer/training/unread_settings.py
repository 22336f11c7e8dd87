"""Settings that the other settings leave unread: refused where somebody has asked for them."""

from dataclasses import fields

from transformers import TrainingArguments

from latent_trainer.errors import InputError

STAGES = {"epochs_per_stage", "steps_per_stage", "advance_at"}
# The settings of each curriculum; what stands beside none of them is read by all.
OF_CURRICULUM = {
    "fixed": {"num_latents", "keep_steps"},
    "staged": {"latents_per_step", "max_stage", "pad_latent_to_max", "uniform_prob", "mixed_stages", *STAGES},
    "internalize": {"max_stage", "internalize_per_stage", "internalize_unit", "internalize_smoothing", *STAGES},
    "compressed": set(),
}
OF_THOUGHTS = ("feedback", "feedback_options", "rollout", "rollout_options", "backprop")
BY_STEPS = ("latents_per_step", "pad_latent_to_max")  # of stages between the first and the last
BY_COUNT = ("internalize_per_stage", "internalize_unit", "internalize_smoothing")


def asked_for(args) -> dict:
    """Return the settings of `LatentTrainingArguments` that were given another value than their default."""
    stock = {one.name for one in fields(TrainingArguments)}
    own = [one for one in fields(args) if one.name not in stock]
    given = {one.name: getattr(args, one.name) for one in own}
    return {one.name: given[one.name] for one in own if given[one.name] != one.default and given[one.name] != {}}


def settle_unread(args, asked: dict, defaults: dict) -> None:
    """Refuse settings nobody would read, and take their defaults away, so that the arguments say what the run does.

    Args:
        args: `LatentTrainingArguments` with their choices made.
        asked: what was set by hand (see `asked_for`).
        defaults: values that settings get where neither user nor method sets them; asking for one of those is no mistake
            where a model has to have it.

    Raises:
        InputError: a setting that another one leaves unread; in one line that names both.
    """
    others = set().union(*OF_CURRICULUM.values()) - OF_CURRICULUM.get(args.curriculum, set())  # own ones it is made of
    for name, reason in unread(args).items():
        if name in asked and (name not in OF_THOUGHTS or asked[name] != defaults.get(name)):
            raise InputError(f"{name}={asked[name]} has no effect with {reason}; leave {name} out or change the other")
        if name in others and name in defaults:
            setattr(args, name, None)


def unread(args) -> dict[str, str]:
    """Return the settings that the others leave unread, each with the setting that does."""
    curriculum = args.make_curriculum()
    own = OF_CURRICULUM.get(args.curriculum, STAGES)
    found = dict.fromkeys(set().union(*OF_CURRICULUM.values()) - own, f"curriculum={args.curriculum}")
    if args.max_stage == 0 and args.curriculum != "fixed":
        found |= dict.fromkeys(BY_STEPS + BY_COUNT, "max_stage=0")
    if curriculum.num_stages == 1 and args.reset_optimizer == "stage":
        found["reset_optimizer"] = f"curriculum={args.curriculum}, which has one stage"
    if args.step_decoder is None:
        found |= dict.fromkeys(("step_decoder_weight", "step_decoder_group"), "step_decoder unset")
    elif args.step_decoder_group is None:
        found.pop("latents_per_step", None)
    if not curriculum.latents(curriculum.num_stages - 1):
        found |= dict.fromkeys(OF_THOUGHTS, f"{_without_latents(args)}, which leaves no latents")
    elif args.feedback == "learned":
        found["backprop"] = "feedback=learned, which computes nothing to go back through"
    if getattr(curriculum, "gives_inputs", False):
        reason = f"curriculum={args.curriculum}, whose latents have their inputs in training"
        found |= dict.fromkeys(("rollout", "rollout_options", "backprop"), reason)
    else:
        found["speed"] = f"curriculum={args.curriculum}, whose latents stand for no number of tokens"
    if not args.make_template().markers:
        found["remaining_steps"] = "markers=False, which puts them in the same place"
    return found


def _without_latents(args) -> str:
    """Return the setting that leaves a run without latents."""
    if args.curriculum == "fixed":
        return f"num_latents={args.num_latents}"
    return "max_stage=0" if args.curriculum == "staged" else f"curriculum={args.curriculum}"
