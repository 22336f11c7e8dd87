"""The stage of a run: when it advances, what then happens to the optimizer, and how it survives a resume."""

from transformers import TrainerCallback
from transformers.trainer_callback import ExportableState
from transformers.utils import logging

from latent_trainer.training_args import LatentTrainingArguments

logger = logging.get_logger(__name__)


class StageCallback(TrainerCallback, ExportableState):
    """Hold the current stage and advance it by epochs, by steps or by validation accuracy.

    Batches are put together in the training process, after the loader, so a new stage counts from the very next batch, with
    any number of processes and loader workers.

    Args:
        args: says how stages advance.
        num_stages: stages of the curriculum.
        on_change: called with the new stage.
    """

    def __init__(self, args: LatentTrainingArguments, num_stages: int, on_change):
        self.last_stage = num_stages - 1
        self.stage = min(args.first_stage, self.last_stage)
        self.on_change = on_change

    def state(self) -> dict:
        """Return what a checkpoint keeps."""
        return {"args": {}, "attributes": {"stage": self.stage}}

    def on_train_begin(self, args, state, control, **kwargs):
        """Start at the checkpoint's stage when a run is resumed."""
        saved = state.stateful_callbacks.get(type(self).__name__)
        if saved:
            self.stage = saved["attributes"]["stage"]
        self.on_change(self.stage)

    def on_epoch_begin(self, args, state, control, optimizer=None, **kwargs):
        """Advance by epochs; nothing happens when a run resumes in the middle of one."""
        epoch = state.epoch or 0
        if epoch != int(epoch) or state.global_step == 0:
            return
        if args.epochs_per_stage is not None:
            self._advance(args.first_stage + int(epoch) // args.epochs_per_stage, args, optimizer)
        if args.reset_optimizer == "epoch":
            _reset(optimizer)

    def before_batch(self, args, state, optimizer) -> None:
        """Advance by optimizer steps; the trainer calls this before it puts the next batch together."""
        if args.steps_per_stage is not None:
            self._advance(args.first_stage + state.global_step // args.steps_per_stage, args, optimizer)

    def on_evaluate(self, args, state, control, metrics=None, optimizer=None, **kwargs):
        """Advance by validation accuracy."""
        if args.advance_at is not None and control.should_evaluate and metrics["eval_accuracy"] >= args.advance_at:
            self._advance(self.stage + 1, args, optimizer)

    def _advance(self, stage: int, args, optimizer):
        stage = min(stage, self.last_stage)
        if stage == self.stage:
            return
        self.stage = stage
        logger.info(f"stage {stage}")
        self.on_change(stage)
        if args.reset_optimizer == "stage":
            _reset(optimizer)


def _reset(optimizer) -> None:
    """Forget the moments of an optimizer; its learning rate stays."""
    getattr(optimizer, "optimizer", optimizer).state.clear()
