"""The tables of reinforcement learning from half-trained models, for `build`."""

from statistics import mean

TEACHING = {
    "rewarded": "rewarded for right answers",
    "own answers": "supervised on its own right answers",
    "shuffled": "rewards shuffled within groups",
}


def reinforced(record: dict) -> str:
    """Return accuracy before and after every arm with the paired tests, and the curves."""
    return f"{_arms(record)}\n\n{_curves(record)}\n\n{_made(record)}"


def reinforced_in_short(record: dict) -> str:
    """Return accuracy before and after every arm, and how it was made."""
    return f"{_arms(record)}\n\n{_made(record)}"


def _arms(record: dict) -> str:
    lines = [
        "| latents | taught | seeds | test accuracy before | after | gain | rewarded is ahead by (p) | minutes |",
        "|---|---|---|---:|---:|---:|---:|---:|",
    ]
    for arm, row in record["rows"].items():
        policy, teaching = arm.split(", ")
        against = record["rows"].get(f"{policy}, rewarded", {}).get("against", {}).get(teaching)
        ahead = f"{100 * against['difference']:+.1f} ({against['p_value']:.0e})" if against else ""
        error = "" if row["gain_stderr"] is None else f" ± {100 * row['gain_stderr']:.1f}"
        lines.append(
            f"| {policy} | {TEACHING[teaching]} | {', '.join(map(str, row['seeds']))} | {_each(row['before'])} "
            f"| {_each(row['after'])} | {100 * row['gain']:+.1f}{error} | {ahead} | {_minutes(row['seconds'])} |"
        )
    return "\n".join(lines)


def _curves(record: dict) -> str:
    steps = sorted({point["step"] for row in record["rows"].values() for own in row["curves"].values() for point in own})
    lines = [
        f"| validation accuracy after .. steps | {' | '.join(map(str, steps))} |",
        "|---|" + "---:|" * len(steps),
    ]
    for arm, row in record["rows"].items():
        at = {
            step: [one["accuracy"] for own in row["curves"].values() for one in own if one["step"] == step] for step in steps
        }
        lines.append(f"| {arm} | {' | '.join(f'{100 * mean(at[step]):.1f}' for step in steps)} |")
    return "\n".join(lines)


def _made(record: dict) -> str:
    config, settings = record["config"], record["config"]["settings"]
    return (
        f"Accuracy in % of {config['test_problems']} test problems, {config['latents']} latents, a row's seeds one after "
        "the other; ± is the standard error over seeds, p McNemar's exact paired test over the test problems of all seeds "
        f"that both arms have. {settings['max_steps']} steps of {settings['per_device_train_batch_size']} answers, "
        f"{settings['num_generations']} to a prompt, `loss_type: {settings['loss_type']}`, learning rate "
        f"{settings['learning_rate']:g}. Minutes of training of each seed, {record['device']}, shared with other work, so "
        "that they are upper bounds. Rewritten by `python benchmarks/reinforcement.py`."
    )


def _each(shares: list[float]) -> str:
    return ", ".join(f"{100 * share:.1f}" for share in shares)


def _minutes(seconds: list[float]) -> str:
    return ", ".join(f"{one / 60:.1f}" for one in seconds)
