"""The tables of speed, for `build`."""

import re


def generation(record: dict) -> str:
    """Return the table of generation speed."""
    lines = ["| evaluation | problems a second | times plain | quartiles |", "|---|---:|---:|---:|"]
    for name, row in record["rows"].items():
        quartiles = f"{row['ratio_low']:.2f} to {row['ratio_high']:.2f}"
        lines.append(f"| {name} | {row['rows_per_second']:.2f} | {row['ratio']:.2f} | {quartiles} |")
    config = record["config"]
    lines += [
        "",
        f"{config['shape']} shape, random weights, {config['rows']} questions, {config['new_tokens']} new tokens, "
        f"{config['rounds']} interleaved rounds, {record['device']}; at batch 1 the first {config['slow_rows']} of them. "
        f"Rewritten by `python benchmarks/generation.py{' --data test.jsonl' if config['data'] else ''}`.",
    ]
    return "\n".join(lines)


def serving(record: dict) -> str:
    """Return the table of a server's speed."""
    lines = ["| vLLM | requests a second | times plain | quartiles of the seconds |", "|---|---:|---:|---:|"]
    for name, row in record["rows"].items():
        quartiles = f"{row['ratio_low']:.2f} to {row['ratio_high']:.2f}"
        lines.append(f"| {name} | {row['requests_per_second']:.2f} | {row['throughput']:.2f} | {quartiles} |")
    config = record["config"]
    low, high = config["question"]
    lines += [
        "",
        f"{config['shape']} shape, random weights, {config['dtype']}, {config['batch']} requests at once, questions of "
        f"{low} to {high} tokens, {config['new_tokens']} new tokens, {config['rounds']} interleaved rounds, "
        f"{record['device']}. Rewritten by `python benchmarks/serving.py`.",
    ]
    return "\n".join(lines)


def memory(record: dict) -> str:
    """Return the table of peak memory."""
    lines = [
        "| step | tensors, GB | times plain | process, times plain | seconds, times plain |",
        "|---|---:|---:|---:|---:|",
    ]
    for name, row in record["rows"].items():
        process, time = (f"{row[key]:.2f}" if key in row else "" for key in ("process_gigabytes_ratio", "ratio"))
        lines.append(f"| {name} | {row['gigabytes']:.2f} | {row['gigabytes_ratio']:.2f} | {process} | {time} |")
    config = record["config"]
    lines += [
        "",
        f"{config['shape']} shape, batch {config['short']['batch']} and {config['long']['batch']}, above the model itself, "
        f"{record['device']}. Rewritten by `python benchmarks/memory.py`.",
    ]
    return "\n".join(lines)


def training(record: dict) -> str:
    """Return the table of training steps."""
    lines = ["| step | seconds | times plain | quartiles | tokens a second | share of the ceiling |", "|---|" + "---:|" * 5]
    for name, row in record["rows"].items():
        lines.append(
            f"| {name} | {row['seconds']:.2f} | {row['ratio']:.2f} | {row['ratio_low']:.2f} to {row['ratio_high']:.2f} "
            f"| {row['tokens_per_second']:.0f} | {100 * row['ceiling_share']:.0f} % |"
        )
    config = record["config"]
    rows = f"{config['question']} question, {config['steps']} CoT and {config['answer']} answer tokens"
    lines += [
        "",
        f"{config['shape']} shape, random weights, {config['dtype']}, batch {config['batch']}, {rows}, {config['rounds']} "
        f"interleaved rounds, {record['device']}. Tokens: positions of question, latents, steps and answer. Ceiling: "
        f"{config['ceiling'] / 1e9:.0f} GFLOP/s of a large matrix product. Rewritten by `python benchmarks/training.py"
        f"{_asked(config, shape='gpt2', batch=8, question=64, rounds=5)}`.",
    ]
    return "\n".join(lines)


def _ratios(record: dict) -> list[str]:
    """Return the lines of a table of seconds and ratios."""
    lines = ["| step | seconds | times plain | quartiles |", "|---|---:|---:|---:|"]
    for name, row in record["rows"].items():
        quartiles = f"{row['ratio_low']:.2f} to {row['ratio_high']:.2f}"
        lines.append(f"| {name} | {row['seconds']:.2f} | {row['ratio']:.2f} | {quartiles} |")
    return lines


def _asked(config: dict, **usual) -> str:
    """Return the options of a benchmark that are not what they usually are, as they were given."""
    given = [f" --{name} {config[name]}" for name in usual if config.get(name, usual[name]) != usual[name]]
    steps = "".join(f' "{name}"' for name in config.get("only") or ())
    return "".join(given) + (f" --steps{steps}" if steps else "")


AXES = ("latents", "prompt", "batch", "layers", "rows", "dtype", "shape", "line", "slope")


def growth(record: dict) -> str:
    """Return the table of ratios along each axis, how straight the axes are, and the slope."""
    rows, config = record["rows"], record["config"]
    order = sorted(
        rows, key=lambda name: (AXES.index(rows[name]["axis"]), [int(number) for number in re.findall(r"\d+", name)])
    )
    lines = ["| axis | step | seconds | times plain | quartiles |", "|---|---|---:|---:|---:|"]
    for name in order:
        row = rows[name]
        if "seconds" in row:
            quartiles = f"{row['ratio_low']:.2f} to {row['ratio_high']:.2f}"
            lines.append(f"| {row['axis']} | {name} | {row['seconds']:.2f} | {row['ratio']:.2f} | {quartiles} |")
    straight = [row for row in rows.values() if row["axis"] == "line"]
    if straight:
        lines += ["", "| axis | from | to | off a straight line | plain | quadratic part of the last step | plain |"]
        lines += ["|---|" + "---:|" * 6]
        for row in straight:
            shares = [row[name] for name in ("off_the_line", "plain_off_the_line", "bend", "plain_bend")]
            cells = " | ".join(f"{100 * share:.0f} %" for share in shares)
            lines.append(f"| {row['of']} | {row['points'][0]} | {row['points'][-1]} | {cells} |")
    slope = rows["slope"]
    others = {
        "shape": f"larger shapes at batch {config['small']}",
        "dtype": "bfloat16 at batch 1",
    }
    said = "".join(f", {text}" for axis, text in others.items() if axis in config["axes"])
    asked = _asked(config, shape="gpt2", batch=8, rounds=3)
    for name in ("latents", "prompts", "batches", "layers"):
        asked += f" --{name} {' '.join(map(str, config[name]))}" if straight and name in config else ""
    axes = f" --axes {' '.join(config['axes'])}" if straight else ""
    lines += [
        "",
        f"One more latent costs {1000 * slope['seconds_per_latent']:.0f} ms, {slope['ratio']:.2f} times (quartiles "
        f"{slope['ratio_low']:.2f} to {slope['ratio_high']:.2f}) the {1000 * slope['seconds_per_cached_token']:.0f} ms of "
        f"one more plain token through a stock cache; no K is further than {100 * slope['off_the_line']:.0f} % of the range "
        f"from the straight line. {config['shape']} shape, batch {config['batch']}, 64 question and 10 answer tokens, 6 "
        f"latents where nothing else is said{said}, {config['rounds']} interleaved rounds, {record['device']}. Rewritten by "
        f"`python benchmarks/scaling.py{axes}{asked}`.",
    ]
    return "\n".join(lines)


def parts(record: dict) -> str:
    """Return the figure of where the time goes, and its table."""
    rows, config = record["rows"], record["config"]
    names = next(iter(rows.values()))
    lines = [f"![Where the time of a step goes](../results/benchmarks/parts-{config['shape']}.svg)", ""]
    lines += ["| seconds | " + " | ".join(names) + " | all |", "|---|" + "---:|" * (len(names) + 1)]
    for name, row in rows.items():
        cells = [f"{seconds:.2f}" for seconds in (*row.values(), sum(row.values()))]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    lines += [
        "",
        f"{config['shape']} shape, batch {config['batch']}, {config.get('question', 64)} question tokens, medians of "
        f"{config['rounds']} profiled steps, {record['device']}. Rewritten by `python benchmarks/parts.py"
        f"{_asked(config, shape='gpt2', batch=8, question=64, rounds=3)}`.",
    ]
    return "\n".join(lines)


def decoding(record: dict) -> str:
    """Return the table of decoding by both yardsticks."""
    config, compiled = record["config"], record["config"]["compiled"]
    lines = ["| decoding | seconds | times the same positions | times as many passes | times written steps |"]
    lines += ["|---|" + "---:|" * 4]
    for name, row in record["rows"].items():
        cells = [f"{row['ratio']:.2f} ({row['ratio_low']:.2f} to {row['ratio_high']:.2f})"]
        for label in ("over_passes", "over_steps"):
            known = label in row
            cells.append(f"{row[label]:.2f} ({row[f'{label}_low']:.2f} to {row[f'{label}_high']:.2f})" if known else "")
        lines.append(f"| {name} | {row['seconds']:.2f} | " + " | ".join(cells) + " |")
    batches = "" if config["batches"] == [1, 8, 32] else f" --batches {' '.join(map(str, config['batches']))}"
    lines += [
        "",
        f"{config['shape']} shape, random weights, {config['dtype']}, {config['question']} question tokens, "
        f"{config['latents']} latents, {config['new_tokens']} tokens written, {config['rounds']} interleaved rounds, "
        f"quartiles in brackets{', compiled over a static cache' if compiled else ''}, {record['device']}. Rewritten by "
        f"`python benchmarks/decoding.py{_asked(config, shape='gpt2', rounds=5)}{batches}{' --compiled' * compiled}`.",
    ]
    return "\n".join(lines)


def evaluating(record: dict) -> str:
    """Return what an evaluation costs beyond ``generate``, and the seconds of hostile answers."""
    rows, config = record["rows"], record["config"]
    own, pairs, answers = rows["evaluate"], rows["pairs"], rows["answers"]
    data = f" --data {config['data']}" if config["data"] else ""
    return (
        f"Evaluating {own['problems']} problems took {own['evaluate_seconds']:.0f} seconds, of which "
        f"{own['generate_seconds']:.0f} were spent in `generate`: **{100 * own['beyond_generate']:.1f} % beyond it** for "
        f"reading the problems, encoding, grading, the journal and the record ({config['shape']} shape, batch "
        f"{config['batch']}, {config['new_tokens']} tokens written, {record['device']}). {answers['outputs']} hostile "
        f"answers are graded in {answers['seconds']:.1f} seconds of processor time; each against four others in both "
        f"orders, {pairs['comparisons']} comparisons take {pairs['seconds']:.0f}, the worst of them {pairs['worst']:.2f}. "
        f"Rewritten by `python benchmarks/grading.py{_asked(config, shape='smollm2-135m', batch=32, problems=1319)}{data}`."
    )


def peers(record: dict) -> str:
    """Return the table of our steps beside those of published code."""
    config = record["config"]
    lines = _ratios(record)
    lines += [
        "",
        f"{config['shape']} shape, random weights, {config['dtype']}, batch {config['batch']}, {config['question']} "
        f"question, 30 CoT and 10 answer tokens, {config['latents']} latents, {config['rounds']} interleaved rounds, "
        f"{record['device']}. Plain is fine-tuning of the same positions for Coconut and on written steps for CODI. "
        f"Rewritten by `python benchmarks/peers.py FOLDER{_asked(config, shape='gpt2', batch=8, question=64, rounds=5)}`.",
    ]
    return "\n".join(lines)


def bound(record: dict) -> str:
    """Return the table of what a step with latents cannot cost less than."""
    config = record["config"]
    lines = _ratios(record)
    lines += [
        "",
        f"{config['shape']} shape, random weights, {config['dtype']}, {config['question']} question and 10 answer tokens, "
        f"{config['latents']} latents, {config['rounds']} interleaved rounds, {record['device']}. Bound: without latents "
        f"and products alone, together. Rewritten by `python benchmarks/bound.py{_asked(config, rounds=5)}`.",
    ]
    return "\n".join(lines)
