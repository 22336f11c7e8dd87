"""Figures, one function each; colours are safe for colour-blind readers."""

import itertools
from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # files only, no screen
from matplotlib import pyplot

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")  # Okabe and Ito
MARKS = ("o", "s", "^", "D", "v", "P", "X")


def learning_curves(histories: dict[str, list[dict]], path: str | Path, title: str, stages_of: str | None = None) -> None:
    """Draw validation accuracy over optimizer steps, a curve a run with error bars of one standard error.

    Args:
        histories: name -> ``log_history`` of the trainer's state.
        path: image file; the ending decides the format.
        title: states the finding.
        stages_of: the run whose stage changes are marked.
    """
    figure, axes = pyplot.subplots(figsize=(7.0, 4.2), layout="constrained")
    for number, (name, history) in enumerate(histories.items()):
        points = [(entry["step"], entry["eval_accuracy"], entry["eval_accuracy_stderr"]) for entry in _evaluations(history)]
        steps, accuracy, error = zip(*points, strict=True)
        style = {"color": COLOURS[number % len(COLOURS)], "marker": MARKS[number % len(MARKS)], "markersize": 4}
        axes.errorbar(steps, accuracy, yerr=error, label=name, linewidth=1.6, capsize=2, **style)
    changes = [(entry["step"], entry["stage"]) for entry in histories.get(stages_of, []) if "loss" in entry]
    for (_, before), (step, after) in itertools.pairwise(changes):
        if after != before:
            axes.axvline(step, color="0.8", linewidth=0.8, zorder=0)
            axes.annotate(f"stage {after}", (step, 1.03), fontsize=7, color="0.4", rotation=60, annotation_clip=False)
    axes.set(xlabel="optimizer steps", ylabel="validation accuracy (share of problems)", ylim=(-0.02, 1.02))
    axes.set_title(title, fontsize=10, pad=34 if stages_of else 8)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


def _evaluations(history: list[dict]) -> list[dict]:
    """Return the last evaluation of every step."""
    return list({entry["step"]: entry for entry in history if "eval_accuracy" in entry}.values())
