"""The table of docs/papers.md: what is published, which preset and recipes hold it, and what was measured here."""

import json
from pathlib import Path

import yaml

from latent_trainer import bundled
from latent_trainer.methods.presets import METHODS

ROOT = Path(__file__).resolve().parents[1]
MEASURED = {  # preset -> its row of results/methods.json where there is one; soft thinking is not trained
    "cot": "CoT (steps written)",
    "no_cot": "no-CoT",
    "icot": "iCoT",
    "answer_only": "answer-only latents",
    "codi": "CODI",
    "pccot": "PCCoT, 3 iterations",
    "kava": None,
    "sim_cot": "SIM-CoT on that Coconut",
    "colar": None,
    "lotus": None,
    "mux": None,
    "coconut": "Coconut, as published",
    "coconut_mixed": "Coconut, steps inside, norm, mixed",
    "lt_tuning": "LT-Tuning, steps inside",
    "soft_thinking": None,
    "pause": "pause, fixed",
}
NO_FIGURE = ("nothing published", "no published", "no figure", "the settings this project started from", "on another model")


def papers() -> str:
    """Return a row for every method the library itself holds; where a figure is published, the recipes meant to reach it."""
    recipes = _recipes()
    measured = json.loads((ROOT / "results" / "methods.json").read_text(encoding="utf-8"))["rows"]
    lines = ["| paper | preset | recipes | published figure | ours |", "|---|---|---|---|---:|"]
    for name, row in MEASURED.items():
        own = recipes.get(name, {})
        figures = [figure for figure in own.values() if figure]
        shown = [recipe for recipe, figure in own.items() if figure] or list(own)
        ours = measured.get(row)
        cells = (
            METHODS[name].citation,
            f"`{name}`",
            ", ".join(f"`{recipe}`" for recipe in shown) or "-",
            "; ".join(dict.fromkeys(figures)) or "-",
            f"{100 * ours['accuracy']:.1f} %" if ours else "-",
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", "Ours: [results/methods.json](../results/methods.json). Rewritten by `make docs`."])


def _recipes() -> dict[str, dict[str, str]]:
    """Return, by preset, the recipes that use it, with the figure each is to reproduce ('' where there is none)."""
    found: dict[str, dict[str, str]] = {}
    for name, path in bundled.files().items():
        text = path.read_text(encoding="utf-8")
        settings = yaml.safe_load(text)
        method = "sim_cot" if settings.get("step_decoder") else settings.get("method")
        if method is None or name.startswith(("accelerate_configs/", "sweeps/")):
            continue
        line = next((one for one in text.splitlines() if one.startswith("# Reproduces: ")), "")
        figure = line.removeprefix("# Reproduces: ").replace("|", "\\|")
        found.setdefault(method, {})[name] = "" if any(words in figure for words in NO_FIGURE) else figure
    return found
