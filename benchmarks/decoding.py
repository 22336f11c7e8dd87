"""Seconds of ``generate()`` with latents against plain decoding, by both yardsticks, side by side in one process.

Run: python benchmarks/decoding.py [--shape gpt2] [--batches 1 8 32] [--rounds 5] [--compiled]

Plain decoding of *the same positions* reads the latents' places as tokens of the prompt, all in one pass. Plain decoding
with *as many passes* writes as many tokens more as there are latents. *Written steps* are 30 tokens before the answer. With
--compiled the decoder is compiled over a static cache, where latents and written tokens share one step: a record of its
own, and minutes of compiling.
"""

import statistics
from collections.abc import Callable

import torch
from common import argument_parser, make_model, measure, over, positive, record_name, report, spread
from steps import STEPS

QUESTION, LATENTS, NEW_TOKENS = 64, 6, 16
OURS = f"{LATENTS} latents"
POSITIONS, PASSES, WRITTEN = "plain, the same positions", "plain, as many passes", f"plain, {STEPS} tokens of steps"


def decoders(model, batch: int, **generation) -> dict[str, Callable[[], None]]:
    """Return what is compared: each writes a fixed number of tokens after questions of one length.

    Args:
        model: the latent model; the plain ones use the stock model in it.
        batch: rows.
        generation: more options of ``generate``.
    """
    generator = torch.Generator().manual_seed(0)
    config = model.config
    question = torch.randint(1, config.vocab_size - 3, (batch, QUESTION), generator=generator)
    thought = torch.tensor([config.bot_token_id, *[config.latent_token_id] * LATENTS, config.eot_token_id])
    thinking = torch.cat([question, thought.expand(batch, -1)], 1).to(model.device)
    asking = thinking[:, : QUESTION + 1]

    def written(by, prompt: torch.Tensor, number: int) -> Callable[[], None]:
        exactly = {"min_new_tokens": number, "max_new_tokens": number, "do_sample": False, "pad_token_id": 0}
        mask = torch.ones_like(prompt)
        return lambda: by.generate(input_ids=prompt, attention_mask=mask, **exactly, **generation)

    return {
        OURS: written(model, thinking, NEW_TOKENS),
        POSITIONS: written(model.base, thinking, NEW_TOKENS),
        PASSES: written(model.base, asking, LATENTS + NEW_TOKENS),
        WRITTEN: written(model.base, asking, STEPS + NEW_TOKENS),
    }


def rows_of(seconds: dict[str, list[float]], batch: int) -> dict[str, dict]:
    """Return the measurements as rows of a record; ratios are to plain decoding of the same positions, and ours has both."""
    rows = {}
    for name, own in seconds.items():
        rows[f"{name}, batch {batch}"] = {
            "batch": batch,
            "seconds": statistics.median(own),
            **spread(over(own, seconds[POSITIONS])),
        }
    ours = rows[f"{OURS}, batch {batch}"]
    for yardstick, label in ((PASSES, "over_passes"), (WRITTEN, "over_steps")):
        ours |= spread(over(seconds[OURS], seconds[yardstick]), label)
    return rows


def main() -> None:
    """Measure and write results/benchmarks/decoding-SHAPE.json, or decoding-compiled-SHAPE.json."""
    parser = argument_parser(__doc__, without=("batch",))
    parser.add_argument("--batches", type=positive, nargs="+", default=[1, 8, 32], help="rows of a call")
    parser.add_argument("--compiled", action="store_true", help="compile the decoder, over a static cache")
    args = parser.parse_args()
    model = make_model(args.shape, args.dtype).eval()
    generation = {}
    if args.compiled:
        torch._dynamo.config.recompile_limit = 64  # a graph for every width of a prompt and every batch
        model.get_decoder().compile(dynamic=False)  # which the stock model calls, too
        generation = {"cache_implementation": "static", "disable_compile": True}
    results = {}
    for batch in args.batches:
        chosen = decoders(model, batch, **generation)
        for decode in chosen.values() if args.compiled else ():
            decode()  # the first call's cache has no memory yet, so that the second compiles again
        results |= rows_of(measure(chosen, args.rounds), batch)
    sizes = {"question": QUESTION, "latents": LATENTS, "new_tokens": NEW_TOKENS, "steps": STEPS}
    report(record_name("decoding-compiled" if args.compiled else "decoding", args), results, sizes, args)
    for name, row in results.items():
        if "over_passes" in row:
            print(f"{name}: {row['over_passes']:.2f} x as many passes, {row['over_steps']:.2f} x written steps")


if __name__ == "__main__":
    main()
