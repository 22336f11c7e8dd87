"""Seconds of a training step of each method against plain fine-tuning of the same rows, side by side in one process.

Run: python benchmarks/training.py [--shape gpt2] [--dtype float32] [--batch 8] [--question 64] [--steps NAME ...]
"""

import json
from functools import partial

from common import argument_parser, ceiling, compare, make_model, positive, record_name, record_path, report
from steps import ANSWER, QUESTION, STEPS, Bench, labelled, make_batch, positions, useful_operations

BOTH = ("latent", "explicit")
BATCH = 8  # of the records that do not say it in their name


def main() -> None:
    """Measure and write results/benchmarks/training-SHAPE.json, or training-SHAPE-batchN.json."""
    parser = argument_parser(__doc__)
    parser.add_argument("--steps", nargs="+", help="add these to the record, each beside its plain step")
    parser.add_argument("--question", type=positive, default=QUESTION, help="tokens of every question")
    args = parser.parse_args()
    model = make_model(args.shape, args.dtype)
    bench = Bench(model)
    made = partial(make_batch, model, args.batch, prompt=args.question)
    cot = made(views=("explicit",))
    few, many = (made(latents) for latents in (6, 30))
    codi, pccot = (made(latents, views=BOTH) for latents in (6, 24))
    taught = made(24, views=("latent", "targets"))
    groups = (
        {
            "plain CoT fine-tuning": (bench.plain(cot, "explicit"), cot),
            "CODI, 6 latents": (bench.latent(codi, "self_distillation"), codi),
            "PCCoT, 24 latents, 3 iterations": (bench.latent(pccot, "self_distillation", "jacobi", iterations=3), pccot),
            "LOTUS, 24 latents, 3 iterations": (bench.latent(taught, "latent_tokens", "looped", iterations=3), taught),
            "KaVa, 24 latents, 3 iterations": (bench.latent(pccot, "kv_distillation", "jacobi", iterations=3), pccot),
        },
        {
            "plain, the positions of 6 latents": (bench.plain(few), few),
            "Coconut, 6 latents": (bench.latent(few), few),
            "naive Coconut, 6 latents": (bench.naive(few, 6), few),
        },
        {
            "plain, the positions of 30 latents": (bench.plain(many), many),
            "answer-only, 30 latents, backprop last": (bench.latent(many, backprop="last"), many),
            "answer-only, 30 latents, backprop full": (bench.latent(many), many),
        },
    )
    known = [name for group in groups for name in group]
    unknown = sorted(set(args.steps or ()) - set(known))
    if unknown:
        parser.error(f"no step is called {unknown[0]!r}; there are {', '.join(known)}")
    most, results = ceiling(args.dtype), {}
    for group in groups:
        plain, *others = [name for name in group if args.steps is None or name in args.steps or name.startswith("plain")]
        if not others:
            continue
        group = {name: group[name] for name in (plain, *others)}
        measured = compare({name: step for name, (step, _) in group.items()}, plain, args.rounds)
        for name, (_, batch) in group.items():
            seconds = measured[name]["seconds"]
            measured[name] |= {
                "positions": positions(batch),
                "labelled": labelled(batch),
                "tokens_per_second": positions(batch) / seconds,
                "ceiling_share": useful_operations(model, batch) / seconds / most,
            }
        results |= measured
    config = {"only": args.steps, "steps": STEPS, "answer": ANSWER, "ceiling": most}
    name = record_name("training", args) + (f"-batch{args.batch}" if args.batch != BATCH else "")
    record = record_path(name, args)
    known = json.loads(record.read_text(encoding="utf-8")) if args.steps and record.is_file() else {"rows": {}}
    if known["rows"].keys() - results.keys():  # the other rows stay, and so does the plain step they were measured beside
        plain = {name for name in known["rows"] if name.startswith("plain")}
        own = {name: row | {"rounds": args.rounds} for name, row in results.items() if name not in plain}
        results, config = known["rows"] | own, known["config"]
    report(name, results, config, args)


if __name__ == "__main__":
    main()
