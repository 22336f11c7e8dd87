"""Suites: data sets that are evaluated together, as papers report them, and what their numbers come to."""

from dataclasses import dataclass, field

MEANS = ("invalid", "tokens_written", "latents", "passes", "seconds_per_problem")


@dataclass(frozen=True)
class Suite:
    """Test sets that are answered in one call.

    Args:
        sets: names of data sets, in the order of the table.
        hub_options: of a data set that comes from the Hub, name -> options.
        source: who reports these sets together.
    """

    sets: tuple[str, ...]
    hub_options: dict[str, dict] = field(default_factory=dict)
    source: str = ""


SUITES = {
    "gsm": Suite(
        ("gsm8k", "gsm_hard", "svamp", "multiarith"),
        {"svamp": {"all_rows": True}},
        "CODI (Shen et al. 2025) and SIM-CoT (Wei et al. 2025): trained on GSM8K-Aug, the other three out of domain",
    ),
}


def average(rows: dict[str, dict]) -> dict[str, float]:
    """Return the mean over data sets of every number, each data set with the same weight, and its standard error.

    Scores, the numbers with a standard error, are those that all sets have: pass@k and the majority's with several answers.
    The problems of the sets are drawn independently, so the error of the mean is the root of the summed squares over their
    number.

    Args:
        rows: data set -> what `summarise` returns.
    """
    first, *others = rows.values()
    scores = [name for name in first if f"{name}_stderr" in first and all(name in row for row in others)]
    means = {name: sum(row[name] for row in rows.values()) / len(rows) for name in (*scores, *MEANS)}
    errors = {
        f"{name}_stderr": sum(row[f"{name}_stderr"] ** 2 for row in rows.values()) ** 0.5 / len(rows) for name in scores
    }
    return {**means, **errors, "problems": sum(row["problems"] for row in rows.values())}
