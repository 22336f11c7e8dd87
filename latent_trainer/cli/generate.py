"""``latent-trainer generate``: answer questions with a saved model."""

import sys
from dataclasses import dataclass, field

import torch

from latent_trainer.analysis.explain import check_step_decoder, explain_latents
from latent_trainer.cli.arguments import parse
from latent_trainer.cli.build import load_any, set_compression
from latent_trainer.data import Encoder, encode_prompts
from latent_trainer.data.lengths import Room
from latent_trainer.errors import InputError
from latent_trainer.evaluation.generation import new_tokens
from latent_trainer.model.gguf import named
from latent_trainer.model.thinking import ThinkingProcessor, thought_processor
from latent_trainer.options import Count, Positive, Weight, check_fields, parse_json


@dataclass
class GenerateArguments:
    """What is asked, and how it is answered."""

    model: str = field(metadata={"help": "Folder or Hub name of a latent model, an adapter or a base; or a GGUF file."})
    gguf_file: str | None = field(default=None, metadata={"help": "The GGUF file of model that holds the base."})
    question: list[str] | None = field(default=None, metadata={"help": "Questions; by default lines of standard input."})
    num_latents: Count | None = field(default=None, metadata={"help": "Latents per prompt; by default as trained."})
    feedback: str | None = field(default=None, metadata={"help": "Let a base model think untrained: soft."})
    feedback_options: dict | str | None = field(default=None, metadata={"help": "Its options, as a mapping or JSON."})
    template: str | None = field(
        default=None,
        metadata={"help": "Prompt template of a base model; by default chat (its own), with feedback coconut."},
    )
    compression: Positive | None = field(
        default=None, metadata={"help": "Tokens a latent stands for, as the prompt is told; by default as trained."}
    )
    entropy_threshold: Weight | None = field(
        default=None,
        metadata={"help": "Let the model end its thought: at <|eot|>, or at a next token of less entropy (nats)."},
    )
    patience: Positive | None = field(
        default=None, metadata={"help": "Latents in a row below entropy_threshold that end a thought; 1 by default."}
    )
    max_new_tokens: Positive | None = field(
        default=None, metadata={"help": "Tokens written at most, the thought apart; by default as trained."}
    )
    do_sample: bool = field(default=False, metadata={"help": "Sample instead of taking the likeliest token."})
    explain: bool = field(default=False, metadata={"help": "Print what the step decoder reads in each group of latents."})

    def __post_init__(self):
        check_fields(self)
        if not all(question.strip() for question in self.question or ()):
            raise InputError("question='' is empty; give it a text")
        if self.patience is not None and self.entropy_threshold is None:
            raise InputError(f"patience={self.patience} counts latents below entropy_threshold, which is not set; give both")
        if isinstance(self.feedback_options, str):
            self.feedback_options = parse_json("feedback_options", self.feedback_options)
        if self.feedback is None and self.feedback_options is not None:
            raise InputError("feedback_options go with feedback; a saved latent model has its own")
        self.model = named(self.model, self.gguf_file)


def run(argv: list[str]) -> None:
    """Print one answer a question, and before it what its latents say if that is asked for."""
    (args,) = parse("generate", (GenerateArguments,), argv)
    questions = args.question or [line.strip() for line in sys.stdin if line.strip()]
    if not questions:
        raise InputError("no question; give --question or lines on standard input")
    asked = args.entropy_threshold is not None
    model, tokenizer = load_any(
        args.model, args.template, args.feedback, args.feedback_options, asked or bool(args.num_latents)
    )
    thinks = asked or model.config.open_thought
    set_compression(model, args.compression)
    model.eval()
    if args.explain:
        check_step_decoder(model)
    num_latents = model.config.num_latents if args.num_latents is None else args.num_latents
    template = model.config.template or "coconut"
    max_new_tokens = args.max_new_tokens or new_tokens(model)
    room = Room(Encoder(tokenizer, template), model.config.max_position_embeddings, num_latents, max_new_tokens)
    full = encode_prompts(questions, tokenizer, num_latents, template)  # an open thought may become as long
    names = [f"question {number} of {len(questions)}" for number in range(1, len(questions) + 1)]
    room.refuse_long(zip(names, full["attention_mask"].sum(1).tolist(), strict=True))
    batch = encode_prompts(questions, tokenizer, None, template) if thinks else full
    settings = {"max_new_tokens": max_new_tokens, "do_sample": args.do_sample}
    if thinks:
        settings["max_new_tokens"] += num_latents + 1
        thought = thought_processor(model, num_latents)
        if args.entropy_threshold is not None:
            thought = ThinkingProcessor(model.config, num_latents, args.entropy_threshold, args.patience or 1)
        settings["logits_processor"] = [thought]
    sequences = model.generate(**batch, **settings)  # (B, T + new)
    written = sequences[:, batch["input_ids"].shape[1] :].tolist()
    explained = [[] for _ in questions]
    if args.explain:
        real = torch.ones(len(written), len(written[0]), dtype=torch.long)
        explained = explain_latents(model, tokenizer, sequences, torch.cat([batch["attention_mask"], real], 1))
    for question, tokens, groups in zip(questions, written, explained, strict=True):
        start = tokens.index(model.config.eot_token_id) + 1 if thinks else 0
        print(question)
        for number, text in enumerate(groups, 1):
            print(f"  [{number}] {text}")
        print(f"  {tokenizer.decode(tokens[start : start + max_new_tokens], skip_special_tokens=True).strip()}")
