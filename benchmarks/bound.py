"""What a training step with latents cannot cost less than: the matrix products of its passes over one column, nothing else.

Run: python benchmarks/bound.py [--shape smollm2-135m] [--batches 8 2] [--question 40] [--rounds 5]

A latent's pass multiplies a few rows by every weight of the layers, forward and backward, each time it comes by. Measured
side by side are a plain step, a step with latents, the same step without any, and those products alone, one after the other.
The last two together are what a step would cost whose passes did nothing but multiply.
"""

import statistics
from collections.abc import Callable

import torch
from common import argument_parser, make_model, measure, over, positive, record_name, spread, write
from steps import Bench, make_batch

LATENTS = 6


def products(model, batch: int) -> Callable[[], None]:
    """Return the products of all passes over one column: each weight of the layers, forward and backward."""
    weights = [weight for name, weight in model.get_decoder().named_parameters() if weight.dim() == 2]
    weights = [weight.detach() for weight in weights if weight is not model.get_input_embeddings().weight]
    rows = {size: torch.randn(batch, size, device=model.device, dtype=model.dtype) for one in weights for size in one.shape}

    @torch.no_grad()
    def multiply():
        for _ in range(LATENTS):
            for weight in weights:
                torch.nn.functional.linear(rows[weight.shape[1]], weight)
            for weight in reversed(weights):
                rows[weight.shape[0]] @ weight

    return multiply


def main() -> None:
    """Measure and write results/benchmarks/bound-SHAPE.json."""
    parser = argument_parser(__doc__, without=("batch",))
    parser.set_defaults(shape="smollm2-135m")
    parser.add_argument("--batches", type=positive, nargs="+", default=[8, 2], help="rows of a step")
    parser.add_argument("--question", type=positive, default=40, help="tokens of every question")
    args = parser.parse_args()
    model, results = make_model(args.shape, args.dtype), {}
    bench = Bench(model)
    for batch in args.batches:
        thinking, hasty = (make_batch(model, batch, latents, prompt=args.question) for latents in (LATENTS, 0))
        seconds = measure(
            {
                "plain": bench.plain(thinking),
                "ours": bench.latent(thinking),
                "without latents": bench.latent(hasty),
                "products alone": products(model, batch),
            },
            args.rounds,
        )
        least = [sum(pair) for pair in zip(seconds["without latents"], seconds["products alone"], strict=True)]
        for name, own in {**seconds, "bound": least}.items():
            row = {"seconds": statistics.median(own), **spread(over(own, seconds["plain"]))}
            results[f"{name}, batch {batch}"] = row
            print(f"{name}, batch {batch}: {row['seconds']:.3f} s, {row['ratio']:.2f} x plain")
    write(record_name("bound", args), results, {"latents": LATENTS}, args)


if __name__ == "__main__":
    main()
