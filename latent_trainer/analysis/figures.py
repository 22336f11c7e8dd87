"""Figures, one function each; colours are safe for colour-blind readers."""

import itertools
from collections.abc import Callable
from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # files only, no screen
from cycler import cycler
from matplotlib import pyplot

from latent_trainer.whole_files import replacing

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")  # Okabe and Ito
MARKS = ("o", "s", "^", "D", "v", "P", "X")
STYLE = {
    "axes.prop_cycle": cycler(color=COLOURS),
    "axes.titlesize": 9,
    "errorbar.capsize": 2,
    "figure.constrained_layout.use": True,
    "figure.figsize": (6.4, 4.2),
    "legend.frameon": False,
    "lines.markersize": 4,
    "svg.hashsalt": "latent_trainer",  # the same numbers give the same file
}


def save_figure(draw: Callable, result: dict, path: str | Path) -> None:
    """Let ``draw(result, figure)`` fill an empty figure in the library's style, and write it as PNG and as SVG.

    Args:
        draw: a drawing function, such as those of ``PROBES``.
        result: the numbers it draws.
        path: file name without its ending.
    """
    with matplotlib.rc_context(STYLE):
        figure = pyplot.figure()
        draw(result, figure)
        for ending, settings in (("png", {"dpi": 150}), ("svg", {"metadata": {"Date": None}})):
            with replacing(f"{path}.{ending}") as partial:
                figure.savefig(partial, format=ending, **settings)
        pyplot.close(figure)


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
    _write(figure, path)


def control_bars(record: dict, path: str | Path) -> None:
    """Draw the accuracy of the intact model beside its controls, and over the number of latents where that was swept.

    Args:
        record: a result record with ``controls``, ``sweep`` or both.
        path: image file; the ending decides the format.
    """
    panels = [name for name in ("controls", "sweep") if record[name]]
    figure, grid = pyplot.subplots(1, len(panels), figsize=(4.6 * len(panels), 3.8), layout="constrained", squeeze=False)
    for panel, axes in zip(panels, grid[0], strict=True):
        if panel == "controls":
            rows = {"intact": record, **record["controls"]}
            colours = [COLOURS[0], *[COLOURS[1]] * len(record["controls"])]
            _bars(axes, rows, colours)
            worst = max(record["controls"].values(), key=lambda row: row["p_value"])
            axes.set_title(f"Intact latents against controls (largest p = {worst['p_value']:.1g})", fontsize=10)
            axes.set_xlabel("what stands in place of the latents")
        else:
            numbers, rows = [int(number) for number in record["sweep"]], record["sweep"].values()
            means, errors = ([100 * row[name] for row in rows] for name in ("accuracy", "accuracy_stderr"))
            axes.errorbar(numbers, means, yerr=errors, color=COLOURS[0], marker="o", markersize=4, capsize=2)
            best = max(record["sweep"], key=lambda number: record["sweep"][number]["accuracy"])
            axes.set_title(f"Highest accuracy with {best} latents", fontsize=10)
            axes.set_xlabel("latents per prompt")
        axes.set(ylabel="accuracy (% of problems)", ylim=(-2, 102))
    _write(figure, path)


def compared_records(rows: dict[str, dict], figure) -> None:
    """Draw the accuracy of records, a bar each, with error bars of one standard error where there is one.

    Args:
        rows: name -> ``accuracy`` and ``accuracy_stderr``, shares.
        figure: an empty figure.
    """
    figure.set_size_inches(max(4.6, 0.9 * len(rows)), 4)
    axes = figure.subplots()
    _bars(axes, {name: {**row, "accuracy_stderr": row["accuracy_stderr"] or 0} for name, row in rows.items()}, COLOURS[:1])
    best = max(rows, key=lambda name: rows[name]["accuracy"])
    axes.set_title(f"Highest accuracy: {best}, {100 * rows[best]['accuracy']:.1f} %")
    axes.set(ylabel="accuracy (% of problems)", ylim=(-2, 102))
    axes.tick_params(axis="x", labelrotation=30)


def _write(figure, path: str | Path) -> None:
    """Write a figure in one piece and forget it."""
    with replacing(path) as partial:
        figure.savefig(partial, dpi=150)
    pyplot.close(figure)


def _bars(axes, rows: dict[str, dict], colours: list[str]) -> None:
    """Draw a bar a row with error bars of one standard error."""
    means, errors = ([100 * row[name] for row in rows.values()] for name in ("accuracy", "accuracy_stderr"))
    axes.bar(list(rows), means, yerr=errors, color=colours, capsize=3, width=0.7)


def _evaluations(history: list[dict]) -> list[dict]:
    """Return the last evaluation of every step."""
    return list({entry["step"]: entry for entry in history if "eval_accuracy" in entry}.values())
