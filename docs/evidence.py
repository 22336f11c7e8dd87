"""The generated part of docs/evidence.md: tables of records of benchmarks/pretrained.py and audits.py."""

from latent_trainer.analysis.audit.verdicts import QUESTIONS

TITLES = {
    "cot": "CoT (steps written)",
    "no-cot": "no-CoT",
    "pause": "pause tokens",
    "no-cot-after-cot": "no-CoT after CoT",
    "pause-after-cot": "pause tokens after CoT",
    "soft-thinking": "Soft Thinking, no training",
    "coconut": "Coconut",
    "coconut-mixed": "Coconut with mixed stages",
    "lt-tuning": "LT-Tuning",
    "sim-cot": "SIM-CoT",
    "soft": "Coconut with soft tokens",
    "codi": "CODI",
    "pccot": "PCCoT",
    "kava": "KaVa",
    "colar": "CoLaR",
    "answer-only": "answer-only latents",
    "lotus": "LOTUS",
    "mux": "MUX",
}
BASELINES = {
    "no-cot": "no-CoT",
    "pause": "pause",
    "no-cot-after-cot": "no-CoT after CoT",
    "pause-after-cot": "pause after CoT",
}
IN_SHORT = ("no-cot", "pause")
CONTROLS = {"zero": "zeros", "noise": "noise", "shuffle": "another problem's", "frozen": "the mean"}


def pretrained(record: dict) -> str:
    """Return accuracy with paired tests and by family, the controls of runs with latents, curves and costs."""
    parts = (_accuracy(record), _families(record), _controls(record), _curves(record), _cost(record), _made(record))
    return "\n\n".join(part for part in parts if part)


def pretrained_in_short(record: dict) -> str:
    """Return a row a method: accuracy at every seed, how far above the baselines that is, how it was made."""
    found = {(test["run"], test["baseline"].rsplit("-", 1)[0]): test for test in record["tests"]}
    methods: dict[str, list] = {}
    for key, title, row in _runs(record):
        methods.setdefault(title.rpartition(", seed")[0], []).append((key, row))
    rows = []
    for title, runs in methods.items():
        seeds = ", ".join(key.rpartition("-")[2] for key, _ in runs)
        cells = [title, seeds, ", ".join(_share(row) for _, row in runs) + " %"]
        cells += [f"{runs[0][1]['latents']:.0f}", f"{runs[0][1]['tokens_written']:.1f}"]
        for baseline in IN_SHORT:
            tests = [found[key, baseline] for key, _ in runs if (key, baseline) in found]
            less = ", ".join(f"{100 * test['difference']:+.1f}" for test in tests)
            cells.append(f"{less} ({max(test['p_value'] for test in tests):.0e})" if tests else "")
        rows.append(cells)
    headings = ["trained as", "seeds", "test accuracy", "latents", "tokens written"]
    headings += [f"less {BASELINES[name]} (p, the largest)" for name in IN_SHORT]
    return f"{_table(headings, rows)}\n\n{_made(record)}"


def _runs(record: dict) -> list[tuple[str, str, dict]]:
    """Return key, title and row of every run, methods in the order of ``TITLES``, seeds of a method together."""
    keyed = [(key, *key.rsplit("-", 1), row) for key, row in record["rows"].items()]
    keyed.sort(key=lambda one: (list(TITLES).index(one[1]), int(one[2])))
    return [(key, f"{TITLES[method]}{_soft(method, row)}, seed {seed}", row) for key, method, seed, row in keyed]


def _soft(method: str, row: dict) -> str:
    """Return what a title adds where a method's latents are soft tokens and its paper's are not."""
    return " with soft tokens" if row["settings"].get("feedback") == "soft" and method != "soft" else ""


def _table(headings: list[str], rows: list[list[str]]) -> str:
    lines = [headings, ["---", *["---:"] * (len(headings) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _share(row: dict) -> str:
    return f"{100 * row['accuracy']:.1f} ± {100 * row['accuracy_stderr']:.1f}"


def _accuracy(record: dict) -> str:
    found = {(test["run"], test["baseline"].rsplit("-", 1)[0]): test for test in record["tests"]}
    present = [name for name in BASELINES if any(baseline == name for _, baseline in found)]
    rows = []
    for key, title, row in _runs(record):
        cells = [f"{title}", f"{_share(row)} %", f"{row['latents']:.0f}", f"{row['tokens_written']:.1f}"]
        for name in present:
            test = found.get((key, name))
            cells.append(f"{100 * test['difference']:+.1f} ({test['p_value']:.1g})" if test else "")
        rows.append(cells)
    less = [f"less {BASELINES[name]} (p)" for name in present]
    return _table(["run", "test accuracy", "latents", "tokens written", *less], rows)


def _families(record: dict) -> str:
    """Return accuracy by family, where a recipe names several."""
    found = [(title, row["by_family"]) for _, title, row in _runs(record) if "by_family" in row]
    if not found:
        return ""
    families = list(found[0][1])
    rows = [[title, *(f"{_share(own[name])} %" for name in families)] for title, own in found]
    problems = {name: own["problems"] for name, own in found[0][1].items()}
    return _table(["by family", *(f"`{name}`, {problems[name]} problems" for name in families)], rows)


def _controls(record: dict) -> str:
    rows = []
    for _, title, row in _runs(record):
        if "controls" in row:
            own = [row["controls"][name] for name in CONTROLS]
            cells = [f"{_share(one)} ({one['p_value']:.1g}), {one['tokens_written']:.0f}" for one in own]
            rows.append([title, f"{100 * row['controls_intact']:.1f}", *cells])
    if not rows:
        return ""
    headings = [
        "other latents in place of its own",
        "its own",
        *(f"{title} (p), tokens written" for title in CONTROLS.values()),
    ]
    return _table(headings, rows)


def _curves(record: dict) -> str:
    rows = []
    for _, title, row in _runs(record):
        staged = len({point["stage"] for point in row["curve"]}) > 1
        curve = "; ".join(
            f"step {point['step']}" + (f", stage {point['stage']}" if staged else "") + f": {100 * point['accuracy']:.0f} %"
            for point in row["curve"]
        )
        losses = ", ".join(f"{loss:.2f}" for _, loss in row["loss"][:: max(1, len(row["loss"]) // 5)])
        rows.append([title, curve, losses])
    return _table(["run", "validation accuracy", "training loss on the way"], rows)


def _cost(record: dict) -> str:
    rows = [
        [
            title,
            str(row["steps"]),
            f"{row['seconds_a_step']:.1f}" if "seconds_a_step" in row else "",
            f"{row['train_peak_memory_gb']:.1f}" if "train_peak_memory_gb" in row else "",
            f"{1000 * row['seconds_a_problem']:.0f}",
        ]
        for _, title, row in _runs(record)
    ]
    return _table(["run", "steps", "seconds a step", "peak memory, GB", "ms a test problem"], rows)


def _made(record: dict) -> str:
    config = record["config"]
    return (
        f"{config['problems']} test problems ({config['control_problems']} for the controls); ± is one standard error, p is "
        f"McNemar's exact paired test over the same problems. {record['device']}, shared with other work, so that "
        f"seconds are upper bounds. Rewritten by `python benchmarks/pretrained.py {config['task']}`."
    )


def audits(record: dict) -> str:
    """Return the verdicts of the audits of the runs, what a few arms leave, and where the whole of each is."""
    rows = []
    for key, row in record["rows"].items():
        method, _, seed = key.rpartition("-")
        page = f"../results/pretrained/audit/{record['config']['task']}/{key}.html"
        verdicts = [row["verdicts"][name]["verdict"] for name in QUESTIONS]
        rows.append([f"[{TITLES[method]}, seed {seed}]({page})", *verdicts])
    tables = [_table(["audit", *QUESTIONS], rows)]
    present = {name: title for name, title in ARMS.items() if any(name in row["forced"] for row in record["rows"].values())}
    rows = []
    for key, row in record["rows"].items():
        method, _, seed = key.rpartition("-")
        cells = []
        for name in present:
            shares = [f"{100 * row[mode][name]['accuracy']:.0f}" for mode in ("free", "forced") if name in row[mode]]
            cells.append(" / ".join(shares) if len(shares) == 2 else f"- / {shares[0]}" if shares else "")
        rows.append([f"{TITLES[method]}, seed {seed}", *cells])
    tables.append(_table(["right answers in %, free / forced", *present.values()], rows))
    problems, config = sorted({row["problems"] for row in record["rows"].values()}), record["config"]
    tables.append(
        f"{' or '.join(map(str, problems))} test problems each, {config['most']} for parts beside the arms; the pages say "
        "what every verdict was decided by. Rewritten by `python benchmarks/audits.py "
        f"{config['task']} --most {config['most']}`."
    )
    return "\n\n".join(tables)


ARMS = {
    "intact": "its own latents",
    "frozen": "their mean",
    "filler": "filler tokens",
    "shuffle": "another problem's",
    "removed": "none",
    "floor": "no thought at all",
    "pause": "pause model",
}
