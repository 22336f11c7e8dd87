"""The tables of reinforcement learning, for `build`."""

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
        "| latents | taught | seeds | test accuracy before | after | gain | rewarded is ahead by (p) "
        "| with drawn latents | minutes |",
        "|---|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for arm, row in _ordered(record):
        policy, teaching = arm.split(", ")
        against = record["rows"].get(f"{policy}, rewarded", {}).get("against", {}).get(teaching)
        ahead = f"{100 * against['difference']:+.1f} ({against['p_value']:.0e})" if against else ""
        drawn = " to ".join(_each(row["drawn"][when]) for when in ("before", "after")) if "drawn" in row else ""
        error = "" if row["gain_stderr"] is None else f" ± {100 * row['gain_stderr']:.1f}"
        lines.append(
            f"| {policy} | {TEACHING[teaching]} | {', '.join(map(str, row['seeds']))} | {_each(row['before'])} "
            f"| {_each(row['after'])} | {100 * row['gain']:+.1f}{error} | {ahead} | {drawn} "
            f"| {_minutes(row['seconds'])} |"
        )
    return "\n".join(lines)


def _ordered(record: dict) -> list[tuple[str, dict]]:
    """Return arms and their rows, those of a policy together."""
    return sorted(record["rows"].items(), key=lambda one: (one[0].split(", ")[0], [*TEACHING].index(one[0].split(", ")[1])))


def _curves(record: dict) -> str:
    steps = sorted({point["step"] for row in record["rows"].values() for own in row["curves"].values() for point in own})
    lines = [
        f"| validation accuracy after .. steps | {' | '.join(map(str, steps))} |",
        "|---|" + "---:|" * len(steps),
    ]
    for arm, row in _ordered(record):
        at = {
            step: [one["accuracy"] for own in row["curves"].values() for one in own if one["step"] == step] for step in steps
        }
        cells = [f"{100 * mean(at[step]):.1f}" if at[step] else "" for step in steps]
        lines.append(f"| {arm} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _made(record: dict) -> str:
    config, settings = record["config"], record["config"]["settings"]
    rates = ", ".join(
        f"{config['steps'][name]} steps at {rate:g} ({name})" for name, rate in config["learning_rates"].items()
    )
    return (
        f"Accuracy in % of {config['test_problems']} test problems, {config['latents']} latents, a row's seeds one after "
        "the other; ± is the standard error over seeds, p McNemar's exact paired test over the test problems of all seeds "
        f"that both arms have. {settings['per_device_train_batch_size']} answers a step, {settings['num_generations']} to a "
        f"prompt, `loss_type: {settings['loss_type']}`; {rates}. Minutes "
        f"of training of each seed, {record['device']}, shared with other work, so that they are upper bounds. Rewritten "
        "by `python benchmarks/reinforcement.py`."
    )


def _each(shares: list[float]) -> str:
    return ", ".join(f"{100 * share:.1f}" for share in shares)


def _minutes(seconds: list[float]) -> str:
    return ", ".join(f"{one / 60:.1f}" for one in seconds)


def shorter(record: dict) -> str:
    """Return accuracy and latents before and after thoughts have learned to be short."""
    operations = list(record["config"]["shares"])
    titles = [f"{number} operations" for number in operations]
    lines = [
        f"| thoughts | test accuracy | latents | less six latents (p) | latents of {' | '.join(titles)} |",
        "|---|---:|---:|---:|" + "---:|" * len(operations),
    ]
    for name, row in record["rows"].items():
        test = row["against_six_latents"]
        lost = "" if name == "six latents" else f"{-100 * test['difference']:+.1f} ({test['p_value']:.0e})"
        own = " | ".join(f"{row['by_operations'][number]['latents']:.1f}" for number in operations)
        accuracy = f"{100 * row['accuracy']:.1f} ± {100 * row['accuracy_stderr']:.1f} %"
        lines.append(f"| {SHORTER.get(name, name)} | {accuracy} | {row['latents']:.2f} | {lost} | {own} |")
    config, settings = record["config"], record["config"]["settings"]
    lines += [
        "",
        f"Seed {config['seed']}; ± is one standard error over test problems, p McNemar's exact paired test. "
        f"{settings['max_steps']} steps of {settings['per_device_train_batch_size']} answers each, the reward `length` with "
        f"a weight of {config['weights']['correct and length'][1]}. Rewritten by `python benchmarks/thought_length.py`.",
    ]
    return "\n".join(lines)


SHORTER = {
    "six latents": "six latents, always",
    "correct": "then rewarded: `correct`",
    "correct and length": "then rewarded: `correct` and `length`",
}


def costs(record: dict) -> str:
    """Return the seconds of rollouts and steps against stock TRL on the model below."""
    lines = ["| policy, phase | seconds | times stock | quartiles |", "|---|---:|---:|---:|"]
    for name, row in record["rows"].items():
        quartiles = f"{row['ratio_low']:.2f} to {row['ratio_high']:.2f}"
        lines.append(f"| {name} | {row['seconds']:.2f} | {row['ratio']:.2f} | {quartiles} |")
    config = record["config"]
    lines += [
        "",
        f"{config['shape']} shape, random weights, {config['batch']} answers of {config['new_tokens']} tokens after "
        f"{config['latents']} latents, {config['rounds']} interleaved rounds, medians, {record['device']}. Plain: TRL's own "
        "trainer on the model below, over as many positions. Rewritten by `python benchmarks/reinforcing.py`.",
    ]
    return "\n".join(lines)


def policies(record: dict) -> str:
    """Return what every policy has made of a pretrained model that thinks, under one budget of rollouts."""
    lines = [
        "| policy | latents of | test accuracy before | after | gain (p) | ahead of deterministic (p) | with drawn latents "
        "| rewards on the way | seconds a step |",
        "|---|---|---:|---:|---:|---:|---:|---|---:|",
    ]
    config, settings = record["config"], record["config"]["settings"]
    for name in config["policies"]:
        if name not in record["rows"]:
            continue
        row = record["rows"][name]
        ahead = row.get("against_deterministic")
        drawn = " to ".join(f"{100 * row['drawn'][when]:.1f}" for when in ("before", "after")) if "drawn" in row else ""
        shares = [f"{100 * row[when]:.1f} ± {100 * row[f'{when}_stderr']:.1f}" for when in ("before", "after")]
        lines.append(
            f"| `{name}` | `{row['feedback']}` | {shares[0]} | {shares[1]} | {_tested(row['gain'])} "
            f"| {_tested(ahead) if ahead else ''} | {drawn} | {', '.join(f'{one:.2f}' for one in row['rewards'])} "
            f"| {row['seconds'] / settings['max_steps']:.1f} |"
        )
    lines += [
        "",
        f"Accuracy in % of {config['test_problems']} test problems of stories, {config['latents']} latents, seed "
        f"{config['seed']}; ± is one standard error over problems, p McNemar's exact paired test. {settings['max_steps']} "
        f"steps of {settings['per_device_train_batch_size']} answers, {settings['num_generations']} to a prompt, learning "
        f"rate {settings['learning_rate']:g}, `loss_type: {settings['loss_type']}`; rewards are means over five steps. "
        f"{record['device']}, shared with other work, so that seconds are upper bounds. Rewritten by "
        "`python benchmarks/policies.py`.",
    ]
    return "\n".join(lines)


def _tested(test: dict) -> str:
    return f"{100 * test['difference']:+.1f} ({test['p_value']:.1g})"
