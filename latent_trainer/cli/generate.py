"""``latent-trainer generate``: answer questions with a saved model."""

import sys
from dataclasses import dataclass, field

from latent_trainer.cli.arguments import parse
from latent_trainer.cli.build import load_saved
from latent_trainer.data import encode_prompts
from latent_trainer.errors import InputError


@dataclass
class GenerateArguments:
    """What is asked, and how it is answered."""

    model: str = field(metadata={"help": "Folder or Hub name of a saved latent model or adapter."})
    question: list[str] | None = field(default=None, metadata={"help": "Questions; by default lines of standard input."})
    num_latents: int | None = field(default=None, metadata={"help": "Latents per prompt; by default as trained."})
    max_new_tokens: int = field(default=64, metadata={"help": "Tokens written at most per question."})
    do_sample: bool = field(default=False, metadata={"help": "Sample instead of taking the likeliest token."})


def run(argv: list[str]) -> None:
    """Print one answer a question."""
    (args,) = parse("generate", (GenerateArguments,), argv)
    if args.num_latents is not None and args.num_latents < 0:
        raise InputError(f"num_latents={args.num_latents} must be at least 0")
    questions = args.question or [line.strip() for line in sys.stdin if line.strip()]
    if not questions:
        raise InputError("no question; give --question or lines on standard input")
    model, tokenizer = load_saved(args.model)
    num_latents = model.config.num_latents if args.num_latents is None else args.num_latents
    batch = encode_prompts(questions, tokenizer, num_latents, model.config.template or "coconut")
    written = model.eval().generate(**batch, max_new_tokens=args.max_new_tokens, do_sample=args.do_sample)
    for question, tokens in zip(questions, written[:, batch["input_ids"].shape[1] :], strict=True):
        print(f"{question}\n  {tokenizer.decode(tokens, skip_special_tokens=True).strip()}")
