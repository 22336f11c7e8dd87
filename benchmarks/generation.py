"""Seconds of evaluating problems with latents against plain ``generate()`` over the same number of positions, side by side.

Run: python benchmarks/generation.py [--data test.jsonl] [--shape gpt2] [--batch 32] [--rounds 5]

Both sides write exactly the same number of tokens after prompts of the same length; ours also grades the answers. Without
--data the questions are random words of ragged length.
"""

import random
from pathlib import Path

import torch
from common import SHAPES, argument_parser, compare, make_model, report

from latent_trainer import encode_prompts
from latent_trainer.data import as_problems, load_problems
from latent_trainer.data.problem import Problem
from latent_trainer.data.thought_tokens import add_thought_tokens
from latent_trainer.data.tokenizer import train_tokenizer
from latent_trainer.evaluation.generation import generate_answers

LATENTS, NEW_TOKENS, ROWS, SLOW_ROWS = 6, 16, 128, 4


def problems(data: str | None) -> list[Problem]:
    """Return the rows of a GSM8K file, or random questions of 20 to 90 words."""
    if data is not None:
        return as_problems(load_problems("gsm8k", "test", path=data))[:ROWS]
    rng = random.Random(0)
    words = ["".join(rng.choices("abcdefghij", k=4)) for _ in range(500)]
    return [Problem(" ".join(rng.choices(words, k=rng.randint(20, 90))), (), "1", str(number)) for number in range(ROWS)]


def main() -> None:
    """Measure and write results/benchmarks/generation-SHAPE.json."""
    parser = argument_parser(__doc__)
    parser.set_defaults(batch=32)
    parser.add_argument("--data", help="the published GSM8K test.jsonl")
    args = parser.parse_args()
    rows = problems(args.data)
    tokenizer = train_tokenizer([problem.question for problem in rows], min(2_000, SHAPES[args.shape]["vocab_size"] - 3))
    ids = add_thought_tokens(tokenizer, "<|bot|>", "<|eot|>")
    model = make_model(args.shape, ids=ids).eval()
    exactly = {"min_new_tokens": NEW_TOKENS, "max_new_tokens": NEW_TOKENS}
    ordered = sorted(rows, key=lambda problem: -len(problem.question))

    def latent(batch: int, chosen: list[Problem], **options):
        generate_answers(model, tokenizer, chosen, LATENTS, "coconut", batch_size=batch, **exactly, **options)

    @torch.no_grad()
    def plain(batch: int, chosen: list[Problem]):
        for start in range(0, len(chosen), batch):
            questions = [problem.question for problem in chosen[start : start + batch]]
            prompts = encode_prompts(questions, tokenizer, LATENTS).to(model.device)
            model.base.generate(**prompts, do_sample=False, pad_token_id=tokenizer.eos_token_id, **exactly)

    reference = f"plain generate(), batch {args.batch}"
    fast = compare(
        {
            reference: lambda: plain(args.batch, ordered),
            f"{LATENTS} latents, batch {args.batch}": lambda: latent(args.batch, rows),
        },
        reference,
        args.rounds,
    )
    some = ordered[ROWS // 2 :: ROWS // 2 // SLOW_ROWS][:SLOW_ROWS]
    slow = compare(
        {
            "plain generate(), batch 1": lambda: plain(1, some),
            f"{LATENTS} latents, batch 1": lambda: latent(1, some),
            f"{LATENTS} latents, batch 1, no cache": lambda: latent(1, some, use_cache=False),
        },
        "plain generate(), batch 1",
        args.rounds,
    )
    for row in fast.values():
        row["rows_per_second"] = ROWS / row["seconds"]
    for row in slow.values():
        row["rows_per_second"] = SLOW_ROWS / row["seconds"]
    config = {"data": args.data and Path(args.data).name}
    config |= {"latents": LATENTS, "new_tokens": NEW_TOKENS, "rows": ROWS, "slow_rows": SLOW_ROWS}
    report(f"generation-{args.shape}", fast | slow, config, args)


if __name__ == "__main__":
    main()
