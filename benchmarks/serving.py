"""Requests a second of a latent model in vLLM against its base model in plain vLLM, over the same positions, side by side.

Run: .venvs/serving/bin/python benchmarks/serving.py [--shape gpt2] [--batch 32] [--rounds 5]      (after make test-serving)

All requests of a round are asked for at once. A latent is read once, as a written token is, so that the base model gets as
many positions: written one after the other, as latents are thought, or given in the prompt and read at once.
"""

import os
import random
import tempfile
from pathlib import Path

from common import argument_parser, compare, make_model, record_name, report

LATENTS, NEW_TOKENS, QUESTION = 6, 32, (20, 60)


def prompts(number: int, vocabulary: int, seed: int) -> list[list[int]]:
    """Return questions of random tokens and ragged length."""
    rng = random.Random(seed)
    return [[rng.randrange(vocabulary - 3) for _ in range(rng.randint(*QUESTION))] for _ in range(number)]


def main() -> None:
    """Measure and write results/benchmarks/serving-SHAPE.json."""
    parser = argument_parser(__doc__)
    parser.set_defaults(batch=32)
    args = parser.parse_args()
    # read by vLLM when it is imported
    os.environ.update(VLLM_CPU_OMP_THREADS_BIND="nobind", VLLM_LOGGING_LEVEL="ERROR", VLLM_NO_USAGE_STATS="1")
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    from vllm import LLM, SamplingParams

    model = make_model(args.shape, args.dtype).cpu()
    latent, bot, eot = (getattr(model.config, f"{name}_token_id") for name in ("latent", "bot", "eot"))
    questions = prompts(args.batch, model.config.vocab_size, 0)
    common = {
        "dtype": args.dtype,
        "max_model_len": 256,
        "max_num_seqs": args.batch,
        "enforce_eager": True,
        "enable_prefix_caching": False,  # every round asks the same
        "skip_tokenizer_init": True,
        "disable_log_stats": True,
    }
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(Path(folder) / "latent")
        model.base.save_pretrained(Path(folder) / "base")
        thinks, plain = (LLM(str(Path(folder) / name), **common) for name in ("latent", "base"))

    def ask(llm, middle: list[int], tokens: int):
        exactly = SamplingParams(temperature=0.0, max_tokens=tokens, min_tokens=tokens, ignore_eos=True, detokenize=False)
        llm.generate([{"prompt_token_ids": [*ids, *middle]} for ids in questions], exactly, use_tqdm=False)

    written, given = f"plain, {LATENTS} tokens more written", f"plain, {LATENTS} tokens more in the prompt"
    rows = compare(
        {
            written: lambda: ask(plain, [bot, eot], NEW_TOKENS + LATENTS),
            f"{LATENTS} latents": lambda: ask(thinks, [bot, *[latent] * LATENTS, eot], NEW_TOKENS),
            given: lambda: ask(plain, [bot, *[1] * LATENTS, eot], NEW_TOKENS),
        },
        written,
        args.rounds,
    )
    for row in rows.values():
        row["requests_per_second"] = args.batch / row["seconds"]
        row["throughput"] = 1 / row["ratio"]
    config = {"latents": LATENTS, "new_tokens": NEW_TOKENS, "question": list(QUESTION)}
    report(record_name("serving", args), rows, config, args)


if __name__ == "__main__":
    main()
