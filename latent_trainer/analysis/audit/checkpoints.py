"""Over training: the verdicts of every checkpoint of a run, with the stage it was saved in."""

from collections.abc import Callable, Iterable

from latent_trainer.analysis.audit import arms, verdicts
from latent_trainer.analysis.audit.battery import FORCED, FREE, Battery

SHOWN = ("intact", "frozen", "shuffle", "removed")  # arms whose accuracy is drawn


def over_training(steps: Iterable[tuple[int, Callable[[], Battery]]]) -> list[dict]:
    """Return the main verdicts and accuracies of checkpoints.

    Args:
        steps: optimizer step -> what loads that checkpoint; one is loaded at a time.
    """
    rows = []
    for step, load in steps:
        battery = load()
        measured = arms.measure(battery)
        row = {"step": step, "stage": battery.model.config.stage, "num_latents": battery.num_latents}
        row["verdicts"] = {name: one["verdict"] for name, one in verdicts.decide(measured).items()}
        for mode in (FREE, FORCED):
            known = [name for name in SHOWN if name in measured[mode]]
            row[mode] = {
                name: {key: measured[mode][name][key] for key in ("accuracy", "accuracy_low", "accuracy_high")}
                for name in known
            }
        rows.append(row)
    return rows
