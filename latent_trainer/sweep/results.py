"""What a sweep has found: a row an attempt, a ranked row a point with its error over seeds, and a figure an axis."""

import csv
import json
import math
from pathlib import Path

import numpy as np
import pyarrow
from pyarrow import parquet

from latent_trainer.analysis.figures import save_figure
from latent_trainer.sweep.state import SweepState
from latent_trainer.whole_files import replacing

WIDE = 30  # a range of positive numbers wider than this factor is drawn on a logarithmic axis


def rows_of(state: SweepState) -> list[dict]:
    """Return a row an attempt: settings, seed, state, seconds, metrics and log."""
    rows = []
    for trial in state.trials():
        own = trial.user_attrs
        metrics = {name: value for name, value in own.get("metrics", {}).items() if isinstance(value, int | float)}
        rows.append(
            {
                **own.get("settings", {}),
                "seed": own.get("seed"),
                "state": trial.state.name.lower(),
                "value": trial.value if trial.values else None,
                "attempt": own.get("attempt"),
                "seconds": own.get("seconds"),
                **metrics,
                "error": own.get("error"),
                "folder": own.get("folder"),
            }
        )
    return rows


def ranked(state: SweepState) -> list[dict]:
    """Return a row a point that has a result, best first: mean, standard error over seeds and their number."""
    groups: dict[str, list[float]] = {}
    for trial in state.trials():
        if trial.values:
            groups.setdefault(json.dumps(trial.user_attrs["settings"]), []).append(trial.value)
    rows = []
    for settings, values in groups.items():
        error = float(np.std(values, ddof=1) / len(values) ** 0.5) if len(values) > 1 else None
        rows.append({**json.loads(settings), "mean": float(np.mean(values)), "stderr": error, "seeds": len(values)})
    return sorted(rows, key=lambda row: row["mean"], reverse=state.study.direction.name == "MAXIMIZE")


def write_results(state: SweepState, folder: Path, metric: str) -> list[Path]:
    """Write ``results.csv``, ``results.parquet``, ``ranked.csv`` and a figure an axis; return what was written.

    Args:
        state: of the sweep.
        folder: where they go.
        metric: its name, for the figures.
    """
    rows, best = rows_of(state), ranked(state)
    _write_csv(folder / "results.csv", rows)
    texts = [
        {name: json.dumps(value) if isinstance(value, dict | list) else value for name, value in row.items()} for row in rows
    ]
    columns = {name: [row.get(name) for row in texts] for name in _names(texts)}
    with replacing(folder / "results.parquet") as partial:
        parquet.write_table(pyarrow.table({name: _column(values) for name, values in columns.items()}), partial)
    _write_csv(folder / "ranked.csv", best)
    written = [folder / name for name in ("results.csv", "results.parquet", "ranked.csv")]
    for axis in state.space.options if best else ():
        points = [row for row in best if axis in row]
        if len({json.dumps(row[axis]) for row in points}) > 1:
            result = {"axis": axis, "metric": metric, "rows": points}
            save_figure(draw_axis, result, folder / f"axis-{axis}")
            written.append(folder / f"axis-{axis}.png")
    return written


def _names(rows: list[dict]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row))


def _write_csv(path: Path, rows: list[dict]) -> None:
    with replacing(path) as partial, open(partial, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, _names(rows))
        writer.writeheader()
        writer.writerows(rows)


def _column(values: list) -> pyarrow.Array:
    """Return a column; settings of different kinds become text."""
    kinds = {type(value) for value in values if value is not None}
    mixed = len(kinds) > 1 and not kinds <= {int, float}
    return pyarrow.array([None if value is None else str(value) for value in values] if mixed else values)


def draw_axis(result: dict, figure) -> None:
    """Draw the metric over one option, a point each with error bars over seeds, and a line through the best of every value.

    Args:
        result: ``axis``, ``metric`` and the ranked ``rows``, best first.
        figure: an empty figure.
    """
    axes, axis, rows = figure.subplots(), result["axis"], result["rows"]
    values = list({json.dumps(row[axis]): row[axis] for row in rows}.values())
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    values = sorted(values) if numbers else values
    places = values if numbers else list(range(len(values)))
    where = {json.dumps(value): place for value, place in zip(values, places, strict=True)}
    for row in rows:
        error = row["stderr"] or 0.0
        style = {"fmt": "o", "color": "C5", "label": None if row is not rows[0] else "a point, ± standard error over seeds"}
        axes.errorbar(where[json.dumps(row[axis])], row["mean"], yerr=error, **style)
    best = [next(row for row in rows if row[axis] == value) for value in values]
    axes.plot(places, [row["mean"] for row in best], color="C0", label="best of each value")
    if numbers and min(values) > 0 and max(values) / min(values) > WIDE:
        axes.set_xscale("log")
    elif not numbers:
        axes.set_xticks(places, [str(value) for value in values])
    top = rows[0]
    error = "" if top["stderr"] is None else f" ± {top['stderr']:.3g}"
    axes.set_title(f"Best {result['metric']} with {axis}={_short(top[axis])}: {top['mean']:.4g}{error}")
    axes.set(xlabel=axis, ylabel=result["metric"])
    axes.legend()


def _short(value) -> str:
    return f"{value:.3g}" if isinstance(value, float) and math.isfinite(value) else str(value)
