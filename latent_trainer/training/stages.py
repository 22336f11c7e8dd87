"""The stage of a run: when it advances, what then happens to the optimizer, and how it survives a resume."""

import itertools
import math

from transformers import TrainerCallback
from transformers.utils import logging

from latent_trainer.compat import ExportableState
from latent_trainer.errors import InputError
from latent_trainer.training.training_args import LatentTrainingArguments

logger = logging.get_logger(__name__)


class StageCallback(TrainerCallback, ExportableState):
    """Hold the current stage and advance it by epochs, by steps or by validation accuracy.

    Batches are put together in the training process, after the loader, so a new stage counts from the very next batch, with
    any number of processes and loader workers.

    Args:
        args: says how stages advance.
        num_stages: stages of the curriculum.
        on_change: called with the new stage.
        evaluate: evaluates as training does.
    """

    def __init__(self, args: LatentTrainingArguments, num_stages: int, on_change, evaluate):
        self.last_stage = _last_stage(args, num_stages)
        self.stage = args.first_stage
        self.passed = False  # validation accuracy has ended the stage; the next one begins with the next batch
        self.on_change, self.evaluate = on_change, evaluate
        self.resumed_at = None  # the step of the checkpoint, once what it owes has been evaluated

    def state(self) -> dict:
        """Return what a checkpoint keeps."""
        return {"args": {}, "attributes": {"stage": self.stage, "passed": self.passed}}

    def on_train_begin(self, args, state, control, **kwargs):
        """Start at the first stage, or at the checkpoint's; one beyond ``last_stage`` is an `InputError`."""
        self.stage, self.passed = args.first_stage, False  # a trainer may train more than once
        saved = state.stateful_callbacks.get(type(self).__name__)
        if saved and state.global_step:
            self.stage, self.passed = saved["attributes"]["stage"], saved["attributes"]["passed"]
        if self.stage > self.last_stage:
            raise InputError(
                f"last_stage={self.last_stage}: the checkpoint is in stage {self.stage} already; raise last_stage"
            )
        self.on_change(self.stage)
        self.resumed_at = None
        if saved and state.global_step:
            if _owes_evaluation(args, state):
                self.evaluate()
            self.resumed_at = state.global_step

    def on_epoch_begin(self, args, state, control, optimizer=None, lr_scheduler=None, **kwargs):
        """Advance by epochs; nothing happens when a run resumes in the middle of one."""
        epoch = state.epoch or 0
        if epoch != int(epoch) or state.global_step == 0:
            return
        if args.epochs_per_stage is not None:
            self._advance(args.first_stage + int(epoch) // args.epochs_per_stage, args, state, optimizer, lr_scheduler)
        if args.reset_optimizer == "epoch":
            _reset(optimizer)

    def before_batch(self, args, state, optimizer, lr_scheduler) -> None:
        """Advance by optimizer steps or accuracy; the trainer calls this before it puts the next batch together."""
        if self.passed:
            self.passed = False
            self._advance(self.stage + 1, args, state, optimizer, lr_scheduler)
        if args.steps_per_stage is not None:
            done = _stages_done(state.global_step, args.steps_per_stage)
            self._advance(args.first_stage + done, args, state, optimizer, lr_scheduler)

    def on_evaluate(self, args, state, control, metrics=None, optimizer=None, **kwargs):
        """End the stage by validation accuracy; a model saved before the next batch still belongs to this stage.

        An evaluation of the model that was resumed has counted in the run before.
        """
        if state.global_step == self.resumed_at:
            return
        if args.advance_at is not None and metrics["stage"] == self.stage and "eval_accuracy" in metrics:
            self.passed = metrics["eval_accuracy"] >= args.advance_at

    def _advance(self, stage: int, args, state, optimizer, lr_scheduler):
        stage = min(stage, self.last_stage)
        if stage == self.stage:
            return
        self.stage = stage
        logger.info(f"stage {stage}")
        self.on_change(stage)
        state.best_metric = state.best_global_step = state.best_model_checkpoint = None  # stages do not compete for the best
        if hasattr(lr_scheduler, "num_bad_epochs"):  # one that waits for a better metric
            lr_scheduler.best, lr_scheduler.num_bad_epochs = math.inf if lr_scheduler.mode == "min" else -math.inf, 0
        if args.reset_optimizer == "stage":
            _reset(optimizer)


def _owes_evaluation(args, state) -> bool:
    """Return whether a checkpoint is of an epoch's last step, saved before the evaluation that decides how it goes on."""
    decides = args.advance_at is not None or args.lr_scheduler_type in ("reduce_lr_on_plateau", "greedy")
    at_end = args.eval_strategy == "epoch" and state.epoch == int(state.epoch) and args.eval_delay <= state.epoch
    last = [name for entry in state.log_history if entry["step"] == state.global_step for name in entry]
    done = any(name.startswith("eval_") for name in last)
    return decides and at_end and not done


def _last_stage(args: LatentTrainingArguments, num_stages: int) -> int:
    """Return the stage a run is to end in."""
    return num_stages - 1 if args.last_stage is None else args.last_stage


def refuse_unreachable(args: LatentTrainingArguments, num_stages: int, epoch_steps: int | None = None) -> None:
    """Raise an `InputError` where a run would end before the stage it is to end in; names a number that reaches it.

    Args:
        args: how long the run is, and how its stages end. By accuracy they may end at any time: nothing is refused.
        num_stages: stages of the curriculum.
        epoch_steps: optimizer steps of an epoch; None, where that is not known yet, checks what does not depend on it.
    """
    last = _last_stage(args, num_stages)
    passed = last - args.first_stage  # stages that have to end
    if passed == 0 or args.advance_at is not None:
        return
    on_purpose = f"or last_stage={args.first_stage} for a run that is to stay in stage {args.first_stage}"
    if args.epochs_per_stage is None and args.steps_per_stage is None:
        raise InputError(
            f"curriculum={args.curriculum} has stages {args.first_stage} to {last}, and nothing says when one ends; set "
            f"epochs_per_stage, steps_per_stage or advance_at, {on_purpose}"
        )
    by_epochs, length = args.epochs_per_stage is not None, "max_steps" if args.max_steps > 0 else "num_train_epochs"
    if epoch_steps is None:
        if by_epochs == (length == "max_steps"):
            return  # one counts epochs, the other steps
        epoch_steps = 1
    steps = args.max_steps if args.max_steps > 0 else math.ceil(args.num_train_epochs * epoch_steps)

    if by_epochs:
        ends = [args.epochs_per_stage * epoch_steps * number for number in range(1, passed + 1)]
    else:
        lengths = args.steps_per_stage + args.steps_per_stage[-1:] * passed
        ends = list(itertools.accumulate(lengths[:passed]))
    if steps > ends[-1]:
        return
    ends_in = args.first_stage + sum(steps > end for end in ends)
    way = f"epochs_per_stage={args.epochs_per_stage}" if by_epochs else f"steps_per_stage={args.steps_per_stage}"
    needed = ends[-1] + 1  # a step in the last stage
    if length == "num_train_epochs":
        needed = args.epochs_per_stage * (passed + 1) if by_epochs else -(-needed // epoch_steps)
    counted = f" ({epoch_steps} steps an epoch)" if by_epochs == (length == "max_steps") else ""
    raise InputError(
        f"{length}={getattr(args, length):g} with {way}{counted} ends in stage {ends_in} and never reaches stage {last}; "
        f"set {length}={needed}, shorter stages, or last_stage={ends_in} for a run that ends there on purpose"
    )


def _stages_done(step: int, lengths: list[int]) -> int:
    """Return how many stages end at or before ``step``; the last length repeats."""
    ends = list(itertools.accumulate(lengths))
    if step < ends[-1]:
        return sum(step >= end for end in ends)
    return len(ends) + (step - ends[-1]) // lengths[-1]


def _reset(optimizer) -> None:
    """Forget the moments of an optimizer; its learning rate stays."""
    getattr(optimizer, "optimizer", optimizer).state.clear()
