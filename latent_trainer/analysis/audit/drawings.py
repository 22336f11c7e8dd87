"""The charts of an audit: from its numbers to what is drawn."""

from latent_trainer.analysis.audit.arms import TITLES
from latent_trainer.analysis.audit.charts import Chart, bars, influence, lines, percent
from latent_trainer.analysis.audit.steps import KINDS
from latent_trainer.analysis.audit.verdicts import QUESTIONS

KEPT = "keep-"  # what the names of arms with the first latents alone begin with
WAYS = {"rethought": "later latents thought anew", "kept": "later latents kept"}
SWAPS = {
    "sufficiency": "sufficiency: the new thought brings the new answer",
    "necessity": "necessity: without it the new answer is lost",
    "selectivity": "selectivity: a thought of the same answer keeps it",
}


def draw(record: dict) -> list[Chart]:
    """Return the charts of what an audit has measured.

    Args:
        record: of `latent_trainer.analysis.audit.parts.audit`.
    """
    charts = _arms(record["arms"])
    if record.get("early"):
        charts.append(_early(record["early"], record["arms"]))
    if record.get("steps"):
        charts += _steps(record["steps"])
    if record.get("counterfactual") and record["counterfactual"]["asked_right"]:
        charts.append(_counterfactual(record["counterfactual"]))
    if record.get("geometry"):
        charts += _geometry(record["geometry"])
    if record.get("reading"):
        charts += _reading(record["reading"])
    if record.get("checkpoints"):
        charts.append(_checkpoints(record["checkpoints"]))
    return charts


def _interval(row: dict, name: str) -> tuple[float, float, float]:
    return row[name], row[f"{name}_low"], row[f"{name}_high"]


def _arms(measured: dict) -> list[Chart]:
    found = {**measured["free"], **measured["forced"]}
    others = sorted(name for name in found if name not in TITLES and not name.startswith(KEPT))  # KEPT is a curve
    names = [name for name in TITLES if name in found] + others
    modes = ("free", "forced")
    charts = []
    for key, what in (("accuracy", "right answers"), ("unchanged", "answers that stay as they were")):
        rows = [
            (_title(name), [_interval(measured[mode][name], key) if name in measured[mode] else None for mode in modes])
            for name in names
            if key == "accuracy" or name != "intact"
        ]
        if not rows:
            continue
        said = "; ".join(
            f"{label}: "
            + ", ".join(f"{mode} {percent(value[0])}" for mode, value in zip(modes, values, strict=True) if value)
            for label, values in rows
        )
        title = f"Share of {what}, by what stands in place of the latents"
        charts.append(bars(f"arms-{key}", title, f"{said}.", rows, ["free", "answer forced"]))
    return charts


def _title(name: str) -> str:
    return TITLES.get(name, name)


def _early(early: dict, measured: dict) -> Chart:
    last = early["curve"][-1]["latents"]
    names = {point["latents"]: f"{KEPT}{point['latents']}" for point in early["curve"]} | {0: "removed", last: "intact"}
    free, forced = ({number: measured[mode][name] for number, name in names.items()} for mode in ("free", "forced"))
    curves = {"right, answer forced": (forced, "accuracy"), "right, free": (free, "accuracy")}
    curves["same answer, forced"] = (forced, "unchanged")
    if measured["free"] == measured["forced"]:  # the template forces every answer
        del curves["right, free"]
    series = {
        title: [(number, *_interval(row, key)) for number, row in rows.items()] for title, (rows, key) in curves.items()
    }
    said = "; ".join(
        f"{title}: " + ", ".join(f"{point[0]} latents {percent(point[1])}" for point in points)
        for title, points in series.items()
    )
    title = f"The answer can be read after {early['decodable_from']} latents"
    text = f"What the first latents alone are worth. {said}."
    return lines("early", title, text, series, "latents that are kept", "problems")


def _steps(found: dict) -> list[Chart]:
    series = {}
    for kind in (kind for kind in KINDS if kind in found["graph"]):
        for way in WAYS:
            rows = [row for row in found["answers"] if row["set_to"] == kind and row["others"] == way]
            points = [
                (row["latent"], 1 - row["unchanged"], 1 - row["unchanged_high"], 1 - row["unchanged_low"]) for row in rows
            ]
            series[f"{kind}, {'anew' if way == 'rethought' else 'kept'}"] = points
    kind = "donor" if "donor" in found["graph"] else "mean"
    changed = [point[1] for point in series[f"{kind}, anew"]]
    moved = [[None if cell is None else cell["moved"] for cell in row] for row in found["graph"][kind]]
    strongest = changed.index(max(changed)) + 1
    said = "; ".join(f"latent {place}: {percent(share)} of the answers change" for place, share in enumerate(changed, 1))
    graph = influence(
        "influence",
        f"Latent {strongest} changes most answers where it is set to {KINDS[kind]}",
        f"Each latent set to {KINDS[kind]}, later ones thought anew. {said}. The table says how far each moves the later "
        "ones, relative to their length.",
        moved,
        changed,
    )
    said = "; ".join(f"{name}: " + ", ".join(percent(point[1]) for point in points) for name, points in series.items())
    title = "Answers that change where one latent is set"
    return [graph, lines("steps", title, f"{said}.", series, "latent that is set", "answers that change")]


def _counterfactual(found: dict) -> Chart:
    rows = []
    if "follows" in found:
        rows.append(("the answer follows the changed question", [_interval(found, "follows"), None]))
    for name, title in SWAPS.items():
        values = [
            _interval(found[way][name], "share") if found.get(way, {}).get(name, {}).get("pairs") else None
            for way in ("by_latents", "by_values")
        ]
        if any(values):
            rows.append((title, values))
    said = "; ".join(f"{label}: {', '.join(percent(value[0]) for value in values if value)}" for label, values in rows)
    series = ["by latents", "by keys and values"]
    text = f"{found['pairs']} questions with one thing changed, {found['solved']} solved both ways. {said}."
    return bars("counterfactual", "One thing in the question is changed", text, rows, series)


def _geometry(found: dict) -> list[Chart]:
    rank = [(row["rank"], *_interval(row, "accuracy")) for row in found["rank"]]
    charts = []
    if rank:
        said = ", ".join(f"{point[0]:g}: {percent(point[1])}" for point in rank)
        text = f"Right answers with latents of so many principal directions: {said}."
        charts.append(
            lines("rank", "How many directions the latents need", text, {"right": rank}, "directions kept", "right answers")
        )
    if found["ablated"]:
        own = [(row["rank"], *_interval(row, "accuracy")) for row in found["ablated"]]
        random = [(row["rank"], *[row["random_accuracy"]] * 3) for row in found["ablated"]]
        said = ", ".join(
            f"{row['rank']}: {percent(row['accuracy'])} and {percent(row['random_accuracy'])}" for row in found["ablated"]
        )
        text = f"Right answers without the steepest directions, and without as many random ones: {said}."
        series = {"steepest taken out": own, "random taken out": random}
        charts.append(
            lines("ablated", "Directions that matter to the answer", text, series, "directions taken out", "right answers")
        )
    points = []
    for row in found["token"]:
        error = row["divergence_stderr"]
        points.append((row["latent"], row["divergence"], row["divergence"] - error, row["divergence"] + error))
    said = ", ".join(f"latent {point[0]}: {point[1]:.3f}" for point in points)
    text = f"Jensen-Shannon divergence in bits of the next token after a latent and after its likeliest token: {said}."
    title = "How much more than its likeliest token a latent says"
    most = max(0.1, *(point[3] for point in points))
    return [*charts, lines("token", title, text, {"divergence": points}, "latent", "bits", most)]


def _reading(found: dict) -> list[Chart]:
    charts = []
    correctness, steps = found["correctness"], found["gold_steps"]
    if correctness:
        rows = [(f"a probe on {what}", [_interval(correctness[key], "auroc")]) for key, what in _PROBED.items()]
        said = "; ".join(f"{label}: {values[0][0]:.2f}" for label, values in rows)
        title = "Whether an answer will be right, read off before it is given"
        text = f"Area under the ROC curve, 50 % is chance. {said}."
        charts.append(bars("correctness", title, text, rows, ["area under the curve"]))
    known = [row for row in steps["latents"] if row["problems"]] if steps else []
    if known:
        series = {
            f"among the {top} likeliest" if top > 1 else "the likeliest": [
                (
                    row["latent"],
                    row[f"top_{top}"],
                    *(row[f"top_{top}"] + sign * row[f"top_{top}_stderr"] for sign in (-1, 1)),
                )
                for row in known
            ]
            for top in (1, 5)
        }
        said = "; ".join(f"{name}: " + ", ".join(percent(point[1]) for point in points) for name, points in series.items())
        title = "The value of the written step, read through the model's head"
        charts.append(lines("gold-steps", title, f"{said}.", series, "latent", "problems"))
    return charts


_PROBED = {"latents": "the latents", "question": "the question alone"}


def _checkpoints(rows: list[dict]) -> Chart:
    series: dict[str, list] = {}
    for mode in ("free", "forced"):
        for name in ("intact", "shuffle", "removed"):
            points = [(row["step"], *_interval(row[mode][name], "accuracy")) for row in rows if name in row[mode]]
            if points:
                series[f"{name}, {mode}"] = points
    said = "; ".join(
        f"step {row['step']}, stage {row['stage']}: " + ", ".join(f"{name} {row['verdicts'][name]}" for name in QUESTIONS)
        for row in rows
    )
    stages = {row["step"]: str(row["stage"]) for row in rows if row["stage"] is not None}
    notes = {"stage": stages} if stages else {}
    notes |= {name: {row["step"]: SIGNS[row["verdicts"][name]] for row in rows} for name in QUESTIONS}
    title = "Over training: right answers, and the verdicts below (? is undecided)"
    return lines("checkpoints", title, f"{said}.", series, "optimizer step", "right answers", notes=notes)


SIGNS = {"yes": "yes", "no": "no", "undecided": "?"}
