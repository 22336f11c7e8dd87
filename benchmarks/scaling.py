"""How the cost of a step with latents grows along each axis, against plain fine-tuning of the same positions.

Run: python benchmarks/scaling.py [--axes latents prompt batch rows shape dtype] [--batch 8] [--rounds 3]

The slope is the seconds of one more latent over those of one more plain token that the stock model reads by itself through
a stock cache, both from straight lines through the medians of the same run.
"""

import statistics

from common import DEVICE, argument_parser, compare, make_model, measure, over, record_name, report, spread
from steps import QUESTION, Bench, make_batch, ragged

LATENTS, CACHED = (0, 1, 2, 4, 8, 16, 32), (0, 8, 32)
SMALL = 2  # rows of a step of the larger shapes where there is no GPU


def line(points: tuple[int, ...], seconds: list[float]) -> tuple[float, float]:
    """Return the slope of the straight line through the points, and the largest distance from it over the range."""
    slope, start = statistics.linear_regression(points, seconds)
    off = max(abs(start + slope * point - second) for point, second in zip(points, seconds, strict=True))
    return slope, off / (max(seconds) - min(seconds))


def latents_axis(bench: Bench, args) -> dict:
    """Return ratios for every number of latents, and the slope."""
    steps = {}
    for number in LATENTS:
        batch = make_batch(bench.model, args.batch, number)
        steps |= {f"plain, K = {number}": bench.plain(batch), f"K = {number}": bench.latent(batch)}
        if number in CACHED:
            steps[f"one by one, K = {number}"] = bench.cached(batch, number)
    seconds = measure(steps, args.rounds)
    results = {
        f"K = {number}": {
            "axis": "latents",
            "seconds": statistics.median(seconds[f"K = {number}"]),
            **spread(over(seconds[f"K = {number}"], seconds[f"plain, K = {number}"])),
        }
        for number in LATENTS
    }
    ours, cached = (
        [line(points, [seconds[f"{name}K = {number}"][turn] for number in points])[0] for turn in range(args.rounds)]
        for name, points in (("", LATENTS), ("one by one, ", CACHED))
    )
    medians = [results[f"K = {number}"]["seconds"] for number in LATENTS]
    results["slope"] = {
        "axis": "slope",
        **spread(over(ours, cached)),
        "seconds_per_latent": statistics.median(ours),
        "seconds_per_cached_token": statistics.median(cached),
        "off_the_line": line(LATENTS, medians)[1],
    }
    return results


def pair(bench: Bench, args, axis: str, label: str, batch: int, **what) -> dict:
    """Return the ratio of a step with six latents, or as ``what`` says, to plain fine-tuning of the same positions."""
    rows = make_batch(bench.model, batch, **{"latents": 6, **what})
    return {
        label: {
            "axis": axis,
            **compare({"plain": bench.plain(rows), label: bench.latent(rows)}, "plain", args.rounds)[label],
        }
    }


def main() -> None:
    """Measure and write results/benchmarks/scaling-SHAPE.json."""
    parser = argument_parser(__doc__)
    parser.set_defaults(rounds=3)
    axes = ("latents", "prompt", "batch", "rows", "shape", "dtype")
    parser.add_argument("--axes", nargs="+", default=axes, choices=axes, help="those to measure")
    args = parser.parse_args()
    bench, results = Bench(make_model(args.shape, args.dtype)), {}
    if "latents" in args.axes:
        results |= latents_axis(bench, args)
    for width in (16, QUESTION, 256) if "prompt" in args.axes else ():
        results |= pair(bench, args, "prompt", f"prompt of {width}", args.batch, prompt=width)
    for batch in (1, 8, 32) if "batch" in args.axes else ():
        results |= pair(bench, args, "batch", f"batch {batch}", batch)
    if "rows" in args.axes:
        results |= pair(bench, args, "rows", "0 to 12 latents, prompts of 32 to 96", args.batch, **ragged(args.batch))
    if "dtype" in args.axes:
        for dtype in ("float32", "bfloat16"):
            results |= pair(
                Bench(make_model(args.shape, dtype)), args, "dtype", dtype, args.batch if DEVICE == "cuda" else 1
            )
    for shape in ("qwen2.5-0.5b", "llama-3.2-1b") if "shape" in args.axes else ():
        batch = args.batch if DEVICE == "cuda" else SMALL
        results |= pair(Bench(make_model(shape, args.dtype)), args, "shape", f"{shape} shape", batch)
    report(record_name("scaling", args), results, {**vars(args), "small": SMALL})


if __name__ == "__main__":
    main()
