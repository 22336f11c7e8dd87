"""Where the time of a training step goes: the torch profiler's operations, sorted into parts, as a record and a figure.

Run: python benchmarks/parts.py [--shape gpt2] [--batch 8] [--question 64] [--rounds 3] [--steps NAME ...]
"""

import statistics
import time
from functools import partial

import torch
from common import argument_parser, keep_freed_memory, make_model, positive, record_name, record_path, write
from steps import QUESTION, Bench, make_batch
from torch.profiler import ProfilerActivity, profile

from latent_trainer.analysis.figures import COLOURS, save_figure

PARTS = (
    *("layers, wide passes", "layers, one column", "weight gradients", "head, loss, embedding", "attention", "the rest"),
    "between operations",  # Python, and the profiler itself
)
BOTH = ("latent", "explicit")


def part_of(event, widths: set[int], vocabulary: int, batch: int) -> str:
    """Return the part an operation of the profiler belongs to.

    Args:
        event: the operation, with the shapes of its arguments.
        widths: sizes of the weights of the layers; a product between two of them is a weight gradient.
        vocabulary: rows of the embedding.
        batch: rows of a pass over one column.
    """
    shapes = [shape for shape in event.input_shapes if shape]
    if any(vocabulary in shape for shape in shapes):
        return "head, loss, embedding"
    if "scaled_dot_product" in event.name:
        return "attention"
    if event.name in ("aten::mm", "aten::addmm", "aten::addmm_"):
        left, right = shapes[-2:]
        if left[0] in widths and right[1] in widths and left[1] not in widths:
            return "weight gradients"
        return "layers, one column" if left[0] <= batch else "layers, wide passes"
    return "the rest"


def parts_of(step, *about) -> dict[str, float]:
    """Return the seconds of a step by part."""
    with profile(
        activities=[ProfilerActivity.CPU, *[ProfilerActivity.CUDA] * torch.cuda.is_available()], record_shapes=True
    ) as profiler:
        began = time.perf_counter()
        step()
        took = time.perf_counter() - began
    seconds = dict.fromkeys(PARTS, 0.0)
    for event in profiler.events():
        own = event.self_device_time_total if torch.cuda.is_available() else event.self_cpu_time_total
        seconds[part_of(event, *about)] += own / 1e6
    if not torch.cuda.is_available():
        seconds["between operations"] = max(0.0, took - sum(seconds.values()))
    return seconds


def slowly(model, step):
    """Return the step along the plain path, without anything of latent_trainer/rollout/fast."""

    def plainly():
        model.fast = False
        try:
            step()
        finally:
            model.fast = True

    return plainly


def draw(result: dict, figure) -> None:
    """Draw a bar a step, in parts."""
    axes = figure.subplots()
    left = dict.fromkeys(result, 0.0)
    for number, part in enumerate(PARTS):
        seconds = [row[part] for row in result.values()]
        axes.barh(list(result), seconds, left=list(left.values()), color=COLOURS[number], label=part, height=0.6)
        left = {name: before + own for (name, before), own in zip(left.items(), seconds, strict=True)}
    axes.invert_yaxis()
    axes.set(xlabel="seconds a step", title="Latents cost their passes over one column; the head costs its labelled rows")
    axes.legend(fontsize=7, ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.14))


def main() -> None:
    """Measure and write results/benchmarks/parts-SHAPE.json and the figure beside it."""
    parser = argument_parser(__doc__)
    parser.set_defaults(rounds=3)
    parser.add_argument("--question", type=positive, default=QUESTION, help="tokens of every question")
    parser.add_argument("--steps", nargs="+", help="measure these alone")
    args = parser.parse_args()
    bench = Bench(make_model(args.shape, args.dtype))
    made = partial(make_batch, bench.model, args.batch, prompt=args.question)
    few = made(6)
    codi, pccot = (made(latents, views=BOTH) for latents in (6, 24))
    steps = {
        "plain, same positions": bench.plain(few),
        "Coconut, 6 latents": bench.latent(few),
        "Coconut, model.fast = False": slowly(bench.model, bench.latent(few)),
        "naive Coconut": bench.naive(few, 6),
        "plain CoT": bench.plain(made(views=("explicit",)), "explicit"),
        "CODI, 6 latents": bench.latent(codi, "self_distillation"),
        "PCCoT, 24 latents": bench.latent(pccot, "self_distillation", "jacobi", iterations=3),
    }
    unknown = sorted(set(args.steps or ()) - set(steps))
    if unknown:
        parser.error(f"no step is called {unknown[0]!r}; there are {', '.join(steps)}")
    steps = {name: step for name, step in steps.items() if not args.steps or name in args.steps}
    matrices = [weight for weight in bench.model.get_decoder().parameters() if weight.dim() == 2]
    vocabulary = bench.model.config.vocab_size
    widths = {size for weight in matrices for size in weight.shape} - {vocabulary}
    keep_freed_memory()
    for step in steps.values():
        step()
    about = (widths, vocabulary, args.batch)
    rounds = [{name: parts_of(step, *about) for name, step in steps.items()} for _ in range(args.rounds)]
    rows = {name: {part: statistics.median(turn[name][part] for turn in rounds) for part in PARTS} for name in steps}
    for name, row in rows.items():
        print(f"{name:24}", ", ".join(f"{part} {seconds:.2f}" for part, seconds in row.items()))
    name = record_name("parts", args)
    write(name, rows, {"only": args.steps}, args)
    save_figure(draw, rows, record_path(name, args).with_suffix(""))


if __name__ == "__main__":
    main()
