"""``latent-trainer reinforce``: train a saved model further by reinforcement learning, thoughts included."""

from argparse import ArgumentParser
from contextlib import redirect_stderr
from dataclasses import dataclass, field
from io import StringIO
from typing import Literal

from transformers import set_seed

from latent_trainer.cli.arguments import AdapterArguments, DataArguments, parse
from latent_trainer.cli.build import load_any, lora_config
from latent_trainer.cli.config_file import read_config
from latent_trainer.cli.train import KeepDataArguments
from latent_trainer.errors import InputError, check_choice
from latent_trainer.model.gguf import named
from latent_trainer.options import parse_json
from latent_trainer.rl.trl_release import require_trl
from latent_trainer.whole_files import output_folder

ALGORITHMS = ("grpo", "rloo")
RESUMES = {"true": True, "latest": True, "false": None}


@dataclass
class ReinforceArguments(AdapterArguments):
    """Which model is trained further, and how much of it."""

    model: str | None = field(
        default=None,
        metadata={"help": "Folder or Hub name of a latent model, an adapter or a plain base model; or a GGUF file."},
    )
    algorithm: Literal["grpo", "rloo"] = field(
        default="grpo", metadata={"help": "TRL's trainer: group relative (grpo) or with a leave-one-out baseline (rloo)."}
    )
    gguf_file: str | None = field(default=None, metadata={"help": "The GGUF file of model that holds a plain base model."})
    template: str | None = field(default=None, metadata={"help": "For a plain base model: how prompts are written."})
    feedback: str | None = field(default=None, metadata={"help": "For a plain base model: what it thinks by (soft)."})
    feedback_options: dict | str | None = field(default=None, metadata={"help": "Its options, as a mapping or JSON."})

    def __post_init__(self):
        super().__post_init__()
        if self.model is None:
            raise InputError("model is missing; name the latent model that is trained further")
        if isinstance(self.feedback_options, str):
            self.feedback_options = parse_json("feedback_options", self.feedback_options)
        if self.feedback is None and self.feedback_options is not None:
            raise InputError("feedback_options go with feedback; a saved latent model has its own")
        self.model = named(self.model, self.gguf_file)


def run(argv: list[str]) -> None:
    """Train as the arguments say, and save the model, its tokenizer and the metrics."""
    trainer, resume = make_trainer(argv)
    result = trainer.train(resume_from_checkpoint=resume)
    trainer.save_model()
    trainer.save_state()
    trainer.save_metrics("train", result.metrics)
    if trainer.eval_dataset is not None:
        metrics = trainer.evaluate()
        trainer.save_metrics("eval", metrics)
        if trainer.is_world_process_zero():
            print(f"validation reward {metrics['eval_reward']:.3f}")
    if trainer.is_world_process_zero():
        folder = trainer.args.output_dir
        print(f"saved to {folder}; grade it with: latent-trainer evaluate --model {folder}")


def make_trainer(argv: list[str]) -> tuple:
    """Return the trainer of `latent_trainer.rl` that the arguments describe, and what it resumes."""
    require_trl()
    # TRL takes seconds to import, and is there with the extra rl alone
    from latent_trainer.rl.rloo import LatentRLOOTrainer
    from latent_trainer.rl.trainer import LatentGRPOTrainer

    kind = {"grpo": LatentGRPOTrainer, "rloo": LatentRLOOTrainer}[_algorithm(argv)]
    model_args, data_args, args = parse("reinforce", (ReinforceArguments, DataArguments, kind.config_class), argv)
    output_folder("output_dir", args.output_dir)
    train_problems = data_args.load("train")
    evaluates = args.eval_strategy != "no" or args.do_eval
    eval_problems = data_args.load("validation") if evaluates else None
    set_seed(args.seed)  # a feedback that is new draws its weights here
    thinks = bool(args.num_latents)
    model, tokenizer = load_any(
        model_args.model, model_args.template, model_args.feedback, model_args.feedback_options, thinks
    )
    trainer = kind(
        model,
        args=args,
        train_dataset=train_problems,
        eval_dataset=eval_problems,
        processing_class=tokenizer,
        peft_config=lora_config(model_args),
    )
    trainer.add_callback(KeepDataArguments(data_args))
    resume = args.resume_from_checkpoint
    return trainer, RESUMES.get(str(resume).lower(), resume)


def _algorithm(argv: list[str]) -> str:
    """Return the algorithm that the arguments name: it decides what others there are."""
    before = ArgumentParser(add_help=False, allow_abbrev=False)
    before.add_argument("--config")
    before.add_argument("--algorithm")
    given, _ = before.parse_known_args(argv)
    with redirect_stderr(StringIO()):  # whose file it is says `parse`, once
        written = read_config(given.config) if given.config else {}
    name = given.algorithm or written.get("algorithm") or ALGORITHMS[0]
    check_choice("algorithm", name, ALGORITHMS)
    return name
