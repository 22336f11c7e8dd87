"""A fresh model for every run of a trainer, and hyper-parameter search over such runs."""

from collections.abc import Callable

from transformers import PreTrainedModel

from latent_trainer.errors import InputError, nearest
from latent_trainer.training.seeding import seed

# What a run reads anew; other settings have shaped the trainer before a trial begins.
VARIED = {
    *("learning_rate", "weight_decay", "adam_beta1", "adam_beta2", "adam_epsilon", "max_grad_norm", "optim", "optim_args"),
    *("lr_scheduler_type", "lr_scheduler_kwargs", "warmup_steps", "num_train_epochs", "max_steps", "label_smoothing_factor"),
    *("per_device_train_batch_size", "gradient_accumulation_steps", "seed", "data_seed"),
}


class Trials:
    """``model_init`` and ``hyperparameter_search`` of a trainer; comes before `Trainer`.

    The class it is mixed into makes a model ready with ``_ready``.
    """

    def call_model_init(self, trial=None) -> PreTrainedModel:
        """Return what ``model_init`` returns, with the method's settings and adapters; what training draws begins anew."""
        if trial is not None:  # transformers 5.24 would take the trial's seed over only after the model was made
            settings = trial if isinstance(trial, dict) else self.hp_space(trial)
            self.args.seed = settings.get("seed", self.args.seed)
            seed(self.args)
        model = self._ready(super().call_model_init(trial))
        seed(self.args)
        return model

    def hyperparameter_search(
        self, hp_space: Callable | None = None, compute_objective: Callable | None = None, *args, **kwargs
    ):
        """Search as `Trainer` does; without ``compute_objective`` for the smallest ``eval_loss``.

        Args:
            hp_space: returns the settings of a trial, of those a run reads anew; `latent-trainer sweep` varies any.
            compute_objective: from the metrics of an evaluation to a number. The stock one would add all of them up.
            args, kwargs: passed on to `Trainer.hyperparameter_search`.

        Raises:
            InputError: no ``model_init``, a setting that a trial cannot vary, or a largest loss.
        """
        if self.model_init is None:
            raise InputError("hyperparameter_search needs a fresh model for every trial; give LatentTrainer model_init")
        if compute_objective is None:
            direction = args[1] if len(args) > 1 else kwargs.get("direction", "minimize")
            if direction != "minimize":
                raise InputError(f"direction={direction} would maximise eval_loss; give compute_objective")
            compute_objective = _loss
        space = None if hp_space is None else lambda trial: _checked(hp_space(trial))
        return super().hyperparameter_search(space, compute_objective, *args, **kwargs)


def _loss(metrics: dict[str, float]) -> float:
    return metrics["eval_loss"]


def _checked(settings: dict) -> dict:
    """Return the settings of a trial; an `InputError` where one of them cannot vary from run to run."""
    for name in settings:
        if name not in VARIED:
            raise InputError(
                f"hyperparameter_search cannot vary {name}{nearest(name, VARIED)}; latent-trainer sweep varies any setting"
            )
    return settings
