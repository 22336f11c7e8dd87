"""``latent-trainer evaluate``: grade a saved model's answers and write one result record."""

from dataclasses import dataclass, field

import torch
from accelerate import PartialState
from accelerate.utils import gather_object

from latent_trainer.cli.arguments import DataArguments, parse
from latent_trainer.cli.build import DEFAULT_NEW_TOKENS, load_saved
from latent_trainer.data import as_problems
from latent_trainer.data.encoding import Encoder
from latent_trainer.errors import InputError, check_choice
from latent_trainer.evaluation.generation import generate_answers, summarise
from latent_trainer.evaluation.record import write_record


@dataclass
class EvaluateArguments:
    """What is evaluated, and how."""

    model: str = field(metadata={"help": "Folder or Hub name of a saved latent model or adapter."})
    split: str = field(default="test", metadata={"help": "Split that is read: validation or test."})
    output: str | None = field(default=None, metadata={"help": "JSON file of the result record."})
    batch_size: int = field(default=32, metadata={"help": "Problems per call of generate()."})
    max_new_tokens: int | None = field(default=None, metadata={"help": "Tokens per problem; by default as trained."})
    num_latents: int | None = field(default=None, metadata={"help": "Latents per prompt; by default as trained."})
    seed: int = field(default=0, metadata={"help": "Seed of sampling."})

    def __post_init__(self):
        check_choice("split", self.split, ("train", "validation", "test"))
        for name, least in (("batch_size", 1), ("max_new_tokens", 1), ("num_latents", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise InputError(f"{name}={value} must be at least {least}")


def run(argv: list[str]) -> None:
    """Evaluate, print the table row and write the record."""
    args, data_args = parse("evaluate", (EvaluateArguments, DataArguments), argv)
    state = PartialState(cpu=not torch.accelerator.is_available())
    problems = as_problems(data_args.load(args.split))
    model, tokenizer = load_saved(args.model)
    max_new_tokens = args.max_new_tokens or model.generation_config.max_new_tokens or DEFAULT_NEW_TOKENS
    model.to(state.device)
    template = model.config.template or "coconut"
    num_latents = model.config.num_latents if args.num_latents is None else args.num_latents
    problems, dropped = _that_fit(problems, Encoder(tokenizer, template), model, num_latents, max_new_tokens)
    answers = gather_object(
        generate_answers(
            model,
            tokenizer,
            problems[state.process_index :: state.num_processes],
            num_latents,
            template,
            batch_size=args.batch_size,
            max_new_tokens=max_new_tokens,
            show_progress=state.is_main_process,
        )
    )
    if state.is_main_process:
        summary = {**summarise(answers), "dropped": dropped}
        print(
            f"accuracy {summary['accuracy']:.4f} +- {summary['accuracy_stderr']:.4f} on {summary['problems']} problems, "
            f"{summary['tokens_written']:.1f} tokens written, {num_latents} latents, {dropped} dropped"
        )
        if args.output:
            write_record(args.output, summary, config={**vars(args), **vars(data_args)}, problems=problems)
            print(f"record in {args.output}")


def _that_fit(problems, encoder: Encoder, model, num_latents: int, max_new_tokens: int):
    """Leave out problems whose prompt and answer do not fit the context; say how many."""
    longest = model.config.max_position_embeddings
    kept = [
        problem
        for problem in problems
        if longest is None or len(encoder.prompt(problem.question, num_latents)) + max_new_tokens <= longest
    ]
    if not kept:
        raise InputError(f"no problem fits the context of {longest} tokens with max_new_tokens={max_new_tokens}")
    return kept, len(problems) - len(kept)
