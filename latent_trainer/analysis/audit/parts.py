"""The parts of an audit, one after the other; what cannot be measured is said in a line, and the rest goes on."""

from collections.abc import Callable

from latent_trainer.analysis.audit import arms, counterfactual, geometry, reading, steps, verdicts
from latent_trainer.analysis.audit.battery import Battery
from latent_trainer.data.variants import Variants
from latent_trainer.errors import InputError

PARTS = {
    "steps": "one latent at a time",
    "counterfactual": "one thing in the question",
    "geometry": "directions of the latents",
    "reading": "what can be read off",
}


def audit(
    battery: Battery,
    parts: list[str],
    variants: Variants | None = None,
    no_oracle: str = "no oracle was given",
    paused: Battery | None = None,
    most: int = 200,
    latents_per_step: int = 1,
    say: Callable[[str], None] = print,
) -> dict:
    """Return the numbers of an audit: arms and verdicts, and the parts that were asked for.

    Args:
        battery: of the model and all problems.
        parts: some of ``PARTS``.
        variants: works out a problem with one thing in its question changed (`latent_trainer.data.VARIANTS`).
        no_oracle: why there is none.
        paused: of a model with pause tokens over the same problems.
        most: problems of the parts that ask each many times, the first ones.
        latents_per_step: latents that stand for a written step.
        say: called with a line for everything that cannot be measured.

    Returns:
        ``verdicts``, ``arms``, ``early`` and one entry a part; ``missing`` says why something is not there.
    """
    number = battery.num_latents
    rows = list(range(min(most, len(battery.problems))))
    measured = arms.measure(battery, paused)
    record: dict = {"num_latents": number, "arms": measured, "verdicts": verdicts.decide(measured)}
    missing: dict[str, str] = {}

    def leave(part: str, why: str) -> None:
        missing[part] = why
        say(f"{part}: {why}")

    if battery.always_forced:
        leave("free", "the template gives the answer's prefix to every prompt, so every answer is a forced one")
    if number == 0:
        leave("latents", "the model thinks no latents; there is nothing to replace, and only its own answers were taken")
    elif number == 1:
        leave("lengths", "the model thinks one latent: no shorter thoughts, no first one repeated, no later latents")
    elif (measured_lengths := len(arms.lengths(number))) < number - 1:
        leave("lengths", f"{measured_lengths} of the {number - 1} shorter thoughts were tried, evenly spaced")
    record["early"] = steps.early_decoding(measured, number) if number else None

    def run(part: str, measure: Callable[[], dict], needs_latents: bool = True) -> dict | None:
        if needs_latents and not number:
            return None
        try:
            return measure()
        except InputError as error:
            leave(part, str(error))
        except ModuleNotFoundError as error:
            if error.name != "sklearn":
                raise
            leave(part, "needs sklearn; pip install 'latent_trainer[analysis]'")
        return None

    if "steps" in parts:
        record["steps"] = run("steps", lambda: steps.measure(battery, rows))
    if "counterfactual" in parts and variants is None:
        leave("counterfactual", no_oracle)
    elif "counterfactual" in parts:
        oracle = variants
        found = run("counterfactual", lambda: counterfactual.measure(battery, rows, oracle), False)
        if found and not found["asked_right"]:
            leave(
                "counterfactual",
                f"the model answers none of the {found['pairs']} questions right, so that nothing can follow",
            )
        record["counterfactual"] = found
    if "geometry" in parts:
        record["geometry"] = run("geometry", lambda: geometry.measure(battery, rows))
    if "reading" in parts:
        record["reading"] = {
            "correctness": run("correctness", lambda: reading.correctness(battery)),
            "gold_steps": run("gold steps", lambda: reading.gold_steps(battery, latents_per_step)),
        }
    return {**record, "missing": missing}
