"""Verdicts: what the arms say, with the numbers and the thresholds they were decided by."""

from latent_trainer.analysis.audit.arms import SHORT
from latent_trainer.analysis.audit.battery import FORCED, FREE

LOSS = 0.05  # of all problems: less than this is not worth speaking of
SIGNIFICANT = 0.01  # p of the paired test
FOLLOWS = 0.5  # of the answers: the latents decide more of them than everything else
WITHOUT = ("zero", "frozen", "noise", "orthogonal", "filler", "removed")  # arms without what was thought
QUESTIONS = {
    "necessary": "Does the model need its latents?",
    "specific": "Do they have to be those of the problem?",
    "sufficient": "Do they decide the answer by themselves?",
    "needed given a forced answer": "Does it need them where it must answer at once?",
}


def decide(measured: dict) -> dict[str, dict]:
    """Return the verdicts, each "yes", "no" or "undecided", with its reason, its numbers and its thresholds.

    - necessary: whatever stands in place of the latents costs right answers; decided by the arm that costs least.
    - specific: the latents of another problem cost right answers.
    - sufficient: forced to answer with another problem's latents, the model gives that problem's answer.
    - needed given a forced answer: as necessary, with the answer forced right after the thought, and beside no thought.

    A loss is decided where its whole interval lies on one side of the threshold, and a "yes" needs the paired test too.

    Args:
        measured: what `latent_trainer.analysis.audit.arms.measure` returns.
    """
    free, forced = measured[FREE], measured[FORCED]
    if "zero" not in free:
        return {name: _verdict("undecided", "the model thinks no latents") for name in QUESTIONS}
    return {
        "necessary": _needed(free, WITHOUT),
        "specific": _needed(free, ("shuffle",)),
        "sufficient": _sufficient(forced),
        "needed given a forced answer": _needed(forced, (*WITHOUT, "floor")),
    }


def _verdict(verdict: str, why: str, **numbers) -> dict:
    return {"verdict": verdict, "why": why, **numbers}


def _needed(rows: dict[str, dict], names: tuple[str, ...]) -> dict:
    """Return whether every one of some arms loses; the one that loses least decides."""
    known = [name for name in names if name in rows]
    if not known:
        return _verdict("undecided", "two problems are needed to exchange latents between")
    thresholds = {"threshold_loss": LOSS, "threshold_p": SIGNIFICANT}
    if rows["intact"]["accuracy_high"] < LOSS:
        solved = f"{100 * rows['intact']['accuracy']:.1f} %"
        return _verdict(
            "undecided", f"the intact model solves {solved} of the problems, so there is nothing to lose", **thresholds
        )
    least = min(known, key=lambda name: rows[name]["difference"])
    row = rows[least]
    numbers = {name: row[name] for name in ("difference", "difference_low", "difference_high", "p_value")}
    why = (
        f"{SHORT.get(least, least)} loses {_points(row['difference'])} points ({_points(row['difference_low'])} to "
        f"{_points(row['difference_high'])}), p = {row['p_value']:.1g}; "
        f"yes where all of that is above {100 * LOSS:.0f} points and p < {SIGNIFICANT}"
    )
    if len(known) > 1:
        why = f"least of {len(known)} arms: {why}"
    if row["difference_low"] >= LOSS and row["p_value"] < SIGNIFICANT:
        verdict = "yes"
    else:
        verdict = "no" if row["difference_high"] < LOSS else "undecided"
    return _verdict(verdict, why, arm=least, **numbers, **thresholds)


def _sufficient(rows: dict[str, dict]) -> dict:
    """Return whether answers follow the latents of another problem."""
    row = rows.get("shuffle")
    if row is None or not row["pairs"]:
        return _verdict("undecided", "no two problems have different answers to exchange", threshold_follows=FOLLOWS)
    low, high = row["follows_low"], row["follows_high"]
    why = (
        f"{100 * row['follows']:.1f} % ({100 * low:.1f} to {100 * high:.1f}) of {row['pairs']} answers become those of the "
        f"problem whose latents were put in; yes where all of that is above {100 * FOLLOWS:.0f} %"
    )
    verdict = "yes" if low >= FOLLOWS else "no" if high < FOLLOWS else "undecided"
    numbers = {name: row[name] for name in ("follows", "follows_low", "follows_high", "pairs")}
    return _verdict(verdict, why, arm="shuffle", **numbers, threshold_follows=FOLLOWS)


def _points(value: float) -> str:
    return f"{100 * value:.1f}"
