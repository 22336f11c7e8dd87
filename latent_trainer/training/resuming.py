"""Training as it was told: every stage in reach, from one seed, and resumed as the run it was begun as."""

from peft import PeftModel
from transformers.utils import logging

from latent_trainer.compat import train_batch_size
from latent_trainer.errors import InputError
from latent_trainer.training.run_record import check_record, make_record
from latent_trainer.training.seeding import seed
from latent_trainer.training.stages import refuse_unreachable

logger = logging.get_logger(__name__)
UNFIT = (RuntimeError, ValueError, KeyError)  # what loading the state of something else raises


class SameRun:
    """How a `LatentTrainer` begins, resumes and ends a run; comes before `Trainer`."""

    @property
    def epoch_steps(self) -> int:
        """The optimizer steps of an epoch."""
        rows = train_batch_size(self) * self.args.world_size  # of a batch
        batches = len(self.rows) // rows if self.args.dataloader_drop_last else -(-len(self.rows) // rows)
        return max(-(-batches // self.args.gradient_accumulation_steps), 1)

    def train(self, resume_from_checkpoint: str | None = None, **kwargs):
        """Train, with the stage the run ended in among its metrics.

        Args:
            resume_from_checkpoint: a whole checkpoint, or None.
            kwargs: passed on to `Trainer.train`.

        Raises:
            InputError: a stage that is out of reach, or a checkpoint of a run with other settings.
        """
        refuse_unreachable(self.args, self.curriculum.num_stages, self.epoch_steps)
        record = None if self.model is None else make_record(self)  # a search has no model between two trials
        if resume_from_checkpoint and record is not None:
            check_record(resume_from_checkpoint, record)
        self.run_record = None if self.model_init is not None else record  # settings of a trial are not known yet
        seed(self.args)  # what was drawn since the trainer was made plays no part; a checkpoint brings its own state
        result = super().train(resume_from_checkpoint=resume_from_checkpoint, **kwargs)
        stage, last = self.stages.stage, self.stages.last_stage
        result.metrics.update(train_stage=stage, train_last_stage=last)
        if stage < last and self.interruption.received is None:
            now, then = self.curriculum.latents(stage), self.curriculum.latents(last)
            what = f"the model thinks in {now} latents instead of {then}"
            if now == then:
                what = f"it was never without the written steps that stage {last} drops"
            logger.warning(f"training ended in stage {stage}, and stage {last} was not reached: {what}")
        return result

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model=None) -> None:
        """Load the weights; those of another model are an `InputError`."""
        try:
            super()._load_from_checkpoint(resume_from_checkpoint, model)
        except UNFIT as error:
            raise _unfit(resume_from_checkpoint, "model", error) from error

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        """Load their states; those of another optimizer are an `InputError`."""
        needed = [set(group) for group in self.optimizer.param_groups] if checkpoint else []
        try:
            super()._load_optimizer_and_scheduler(checkpoint)
        except UNFIT as error:
            raise _unfit(checkpoint, "optimizer", error) from error
        for names, group in zip(needed, self.optimizer.param_groups if checkpoint else [], strict=True):
            if names - set(group):  # a state takes the place of the optimizer's settings, whatever it is of
                raise _unfit(checkpoint, "optimizer", f"it has no {', '.join(sorted(names - set(group)))}")

    def _issue_warnings_after_load(self, load_result) -> None:
        """Refuse weights that are not all there; tied ones are saved once, under the name of the weight they share."""
        weights = dict(self.model.named_parameters(remove_duplicate=False))
        loaded = {id(weight) for name, weight in weights.items() if name not in set(load_result.missing_keys)}
        missing = [name for name in load_result.missing_keys if id(weights.get(name)) not in loaded]
        if isinstance(self.model, PeftModel):  # whose other weights are not in a checkpoint of adapters
            super()._issue_warnings_after_load(type(load_result)(missing, load_result.unexpected_keys))
            return
        for names, what in ((missing, "it has no"), (load_result.unexpected_keys, "the model has no")):
            if names:
                raise RuntimeError(f"{what} {names[0]}{f' and {len(names) - 1} more' if len(names) > 1 else ''}")


def _unfit(checkpoint: str, part: str, reason: Exception | str) -> InputError:
    reason = " ".join(str(reason).split())[:200]
    return InputError(f"checkpoint {checkpoint} is of another {part}: {reason}; resume with the {part} of that run")
