"""How the cost of a step with latents grows along each axis, against plain fine-tuning of the same positions.

Run: python benchmarks/scaling.py [--axes latents prompt batch layers rows shape dtype] [--batch 8] [--rounds 3]

The slope is the seconds of one more latent over those of one more plain token that the stock model reads by itself through
a stock cache, both from straight lines through the medians of the same run. Of every axis the record says how far the
seconds are from a straight line, and how much of the largest of them is a quadratic term, for both sides.
"""

import statistics

import numpy
from common import DEVICE, argument_parser, compare, make_model, measure, over, positive, record_name, report, spread
from steps import QUESTION, Bench, make_batch, ragged

AXES = ("latents", "prompt", "batch", "layers", "rows", "shape", "dtype")
# of every axis with points: the option that names them, the axis, and what they usually are
POINTS = {
    "latents": ("latents", (0, 1, 2, 4, 8, 16, 32)),
    "prompts": ("prompt", (16, QUESTION, 256)),
    "batches": ("batch", (1, 8, 32)),
    "layers": ("layers", (2, 8, 16, 30)),
}
SMALL = 2  # rows of a step of the larger shapes where there is no GPU


def line(points: list[int], seconds: list[float]) -> tuple[float, float]:
    """Return the slope of the straight line through the points, and the largest distance from it over the range."""
    slope, start = statistics.linear_regression(points, seconds)
    off = max(abs(start + slope * point - second) for point, second in zip(points, seconds, strict=True))
    return slope, off / (max(seconds) - min(seconds))


def bend(points: list[int], seconds: list[float]) -> float:
    """Return the quadratic term of the best parabola at the last point, as a share of the seconds there."""
    return float(numpy.polyfit(points, seconds, 2)[0] * points[-1] ** 2 / seconds[-1])


def shape_of(axis: str, results: dict, points: list[int]) -> dict:
    """Return how straight an axis is, for ours and for the plain step, from rows that are in the order of its points."""
    rows = [row for row in results.values() if row["axis"] == axis]
    if len(points) < 4:
        return {}
    found = {"axis": "line", "of": axis, "points": points}
    for name, kind in (("seconds", ""), ("plain_seconds", "plain_")):
        seconds = [row[name] for row in rows]
        found |= {f"{kind}off_the_line": line(points, seconds)[1], f"{kind}bend": bend(points, seconds)}
    return {f"line of {axis}": found}


def latents_axis(bench: Bench, args) -> dict:
    """Return ratios for every number of latents, and the slope."""
    steps, cached = {}, (args.latents[0], args.latents[len(args.latents) // 2], args.latents[-1])
    for number in args.latents:
        batch = make_batch(bench.model, args.batch, number)
        steps |= {f"plain, K = {number}": bench.plain(batch), f"K = {number}": bench.latent(batch)}
        if number in cached:
            steps[f"one by one, K = {number}"] = bench.cached(batch, number)
    seconds = measure(steps, args.rounds)
    results = {
        f"K = {number}": {
            "axis": "latents",
            "seconds": statistics.median(seconds[f"K = {number}"]),
            "plain_seconds": statistics.median(seconds[f"plain, K = {number}"]),
            **spread(over(seconds[f"K = {number}"], seconds[f"plain, K = {number}"])),
        }
        for number in args.latents
    }
    ours, one_by_one = (
        [line(points, [seconds[f"{name}K = {number}"][turn] for number in points])[0] for turn in range(args.rounds)]
        for name, points in (("", args.latents), ("one by one, ", cached))
    )
    medians = [results[f"K = {number}"]["seconds"] for number in args.latents]
    results |= shape_of("latents", results, args.latents)
    results["slope"] = {
        "axis": "slope",
        **spread(over(ours, one_by_one)),
        "seconds_per_latent": statistics.median(ours),
        "seconds_per_cached_token": statistics.median(one_by_one),
        "off_the_line": line(args.latents, medians)[1],
    }
    return results


def pair(bench: Bench, args, axis: str, label: str, batch: int, **what) -> dict:
    """Return the ratio of a step with six latents, or as ``what`` says, to plain fine-tuning of the same positions."""
    rows = make_batch(bench.model, batch, **{"latents": 6, **what})
    measured = compare({"plain": bench.plain(rows), label: bench.latent(rows)}, "plain", args.rounds)
    return {label: {"axis": axis, **measured[label], "plain_seconds": measured["plain"]["seconds"]}}


def main() -> None:
    """Measure and write results/benchmarks/scaling-SHAPE.json."""
    parser = argument_parser(__doc__)
    parser.set_defaults(rounds=3)
    parser.add_argument(
        "--axes", nargs="+", default=[axis for axis in AXES if axis != "layers"], choices=AXES, help="to measure"
    )
    for name in POINTS:
        parser.add_argument(f"--{name}", type=int if name == "latents" else positive, nargs="+", help="points of that axis")
    args = parser.parse_args()
    for name, (axis, usual) in POINTS.items():
        given = getattr(args, name)
        if given and axis not in args.axes:
            parser.error(f"--{name} are points of an axis that is not measured; add {axis} to --axes or leave them out")
        if given and (len(set(given)) < 2 or min(given) < 0):
            parser.error(f"--{name} {' '.join(map(str, given))} make no line; give two or more different numbers")
        setattr(args, name, sorted(set(given or usual)))
    bench, results = Bench(make_model(args.shape, args.dtype)), {}
    if "latents" in args.axes:
        results |= latents_axis(bench, args)
    for width in args.prompts if "prompt" in args.axes else ():
        results |= pair(bench, args, "prompt", f"prompt of {width}", args.batch, prompt=width)
    for batch in args.batches if "batch" in args.axes else ():
        results |= pair(bench, args, "batch", f"batch {batch}", batch)
    for number in args.layers if "layers" in args.axes else ():
        thin = Bench(make_model(args.shape, args.dtype, layers=number))
        results |= pair(thin, args, "layers", f"{number} layers", args.batch)
    for axis, points in (("prompt", args.prompts), ("batch", args.batches), ("layers", args.layers)):
        if axis in args.axes:
            results |= shape_of(axis, results, points)
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
    report(record_name("scaling", args), results, {"small": SMALL}, args)


if __name__ == "__main__":
    main()
