"""``latent-trainer train``: a recipe from start to saved model."""

import shlex
from pathlib import Path

from transformers import TrainerCallback, set_seed

from latent_trainer.cli.arguments import DataArguments, ModelArguments, parse
from latent_trainer.cli.build import build_model, lora_config
from latent_trainer.errors import InputError
from latent_trainer.hub.settings import DATA_FILE, write_settings
from latent_trainer.registry import origins
from latent_trainer.training.checkpoints import refuse_other_run
from latent_trainer.training.stages import refuse_unreachable
from latent_trainer.training.trainer import LatentTrainer
from latent_trainer.training.training_args import LatentTrainingArguments
from latent_trainer.whole_files import output_folder


def run(argv: list[str]) -> None:
    """Train as the arguments say, save the model and its tokenizer, and leave the metrics beside them."""
    trainer, resume = make_trainer(argv)
    result = trainer.train(resume_from_checkpoint=resume)
    if trainer.interruption.received is not None:
        name = trainer.interruption.received.name
        if trainer.is_world_process_zero():
            words = [*_without_resume(argv), "--resume_from_checkpoint", "true"]
            print(
                f"stopped by {name} after step {trainer.state.global_step}, checkpoint saved; "
                f"go on with: latent-trainer train {shlex.join(words)}"
            )
        raise SystemExit(128 + trainer.interruption.received)
    trainer.save_model()
    trainer.save_state()
    trainer.save_metrics("train", {**result.metrics, "train_dropped": trainer.dropped})
    if trainer.eval_dataset is not None:
        metrics = trainer.evaluate()
        trainer.save_metrics("eval", metrics)
        if trainer.is_world_process_zero() and "eval_accuracy" in metrics:
            print(f"validation accuracy {metrics['eval_accuracy']:.3f} +- {metrics['eval_accuracy_stderr']:.3f}")
    if trainer.args.push_to_hub:
        trainer.push_to_hub()  # once more, with what was measured
    if trainer.is_world_process_zero():
        print(f"saved to {trainer.args.output_dir}")


class KeepDataArguments(TrainerCallback):
    """Write beside the model which problems it is trained on, once the folder is this run's alone.

    Args:
        data_args: what says so.
    """

    def __init__(self, data_args: DataArguments):
        self.data_args = data_args

    def on_train_begin(self, args, state, control, **kwargs):
        """Write them, on the first process."""
        if state.is_world_process_zero:
            plugins = origins(dataset=self.data_args.dataset)
            settings = {**vars(self.data_args), **({"plugins": plugins} if plugins else {})}
            write_settings(settings, Path(args.output_dir) / DATA_FILE)


def _without_resume(argv: list[str]) -> list[str]:
    """Return the words of a command without the option that resumes and its value."""
    for option in ("--resume_from_checkpoint", "--resume-from-checkpoint"):
        words = [word for word in argv if not word.startswith(f"{option}=")]
        at = words.index(option) if option in words else len(words)
        argv = words[:at] + words[at + 2 :]
    return argv


def make_trainer(argv: list[str]) -> tuple[LatentTrainer, str | None]:
    """Return the trainer the arguments describe and what it resumes: a checkpoint, "latest", or None."""
    model_args, data_args, args = parse("train", (ModelArguments, DataArguments, LatentTrainingArguments), argv)
    if args.do_predict:
        raise InputError("do_predict=True: train predicts nothing; leave it out and run latent-trainer evaluate afterwards")
    output_folder("output_dir", args.output_dir)
    refuse_other_run(args.output_dir, args.resume_from_checkpoint)
    refuse_unreachable(args, args.make_curriculum().num_stages)  # what needs no data is said before it is loaded
    train_problems = data_args.load("train")
    eval_problems = data_args.load("validation") if args.eval_strategy != "no" or args.do_eval else None
    set_seed(args.seed)  # a model from a configuration draws its weights here
    model, tokenizer = build_model(model_args, train_problems, args.make_template())
    trainer = LatentTrainer(
        model,
        args,
        train_dataset=train_problems,
        eval_dataset=eval_problems,
        processing_class=tokenizer,
        peft_config=lora_config(model_args),
    )
    trainer.add_callback(KeepDataArguments(data_args))
    if trainer.dropped and trainer.is_world_process_zero():
        print(f"dropped {trainer.dropped} of {len(train_problems)} problems: longer than the model's context")
    return trainer, args.resume_from_checkpoint
