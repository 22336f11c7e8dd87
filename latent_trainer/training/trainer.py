"""`LatentTrainer`: the Hugging Face `Trainer` over problems, stages and views."""

import itertools
from typing import Any

from datasets import Dataset
from peft import PeftConfig
from torch import nn
from transformers import PreTrainedTokenizerBase, Trainer
from transformers.trainer_utils import TrainOutput

from latent_trainer.compat import evaluate_as_in_training, train_batch_size
from latent_trainer.data.thought_tokens import pad_on_the_left
from latent_trainer.errors import InputError
from latent_trainer.evaluation.record import data_hash
from latent_trainer.hub.publishing import Publishing
from latent_trainer.methods.objectives import build_objective
from latent_trainer.methods.objectives.steps import StepObjective, StepOptions
from latent_trainer.methods.step import Totals
from latent_trainer.model.adapters import add_adapters, latent_model, take_over, without_parts
from latent_trainer.model.modeling import LatentForCausalLM
from latent_trainer.training.batches import Batches
from latent_trainer.training.checkpoints import check_data, refuse_other_run, resumed_checkpoint
from latent_trainer.training.inherited import refuse_arguments
from latent_trainer.training.interruption import StopOnSignal
from latent_trainer.training.kernels import use_kernels
from latent_trainer.training.launching import refuse_adapters, refuse_launch
from latent_trainer.training.resuming import SameRun
from latent_trainer.training.samplers import EpochSampler, RowNumbers
from latent_trainer.training.saving import WholeCheckpoints, locked
from latent_trainer.training.scoring import Scoring
from latent_trainer.training.seeding import seed, starting_model
from latent_trainer.training.stages import StageCallback
from latent_trainer.training.trainer_evaluation import Evaluation, read_again
from latent_trainer.training.training_args import LatentTrainingArguments
from latent_trainer.training.trials import Trials


class LatentTrainer(WholeCheckpoints, SameRun, Publishing, Evaluation, Scoring, Trials, Trainer):  # type: ignore[misc]
    """Train a latent model on problems with any combination of objective, feedback, curriculum and rollout.

    Args:
        model: a `LatentForCausalLM`, or a base model to wrap or its name; None with ``model_init``.
        args: `LatentTrainingArguments`.
        data_collator: refused: batches are put together from problems.
        train_dataset: problems (see `load_problems`), as a data set or a list.
        eval_dataset: problems for validation.
        processing_class: the tokenizer; holds the thought tokens.
        peft_config: trains adapters, the thought tokens' rows and the feedback instead of every weight.
        kwargs: passed on to `Trainer` (callbacks, optimizers, ...), or refused (`latent_trainer.training.inherited`).

    Raises:
        ValueError: a tokenizer without thought tokens, no problem that fits the model, an argument that is not taken.
    """

    args: LatentTrainingArguments
    model_init: Any
    train_objective: Any

    def __init__(
        self,
        model: LatentForCausalLM | nn.Module | str | None = None,
        args: LatentTrainingArguments | None = None,
        data_collator=None,
        train_dataset: Dataset | list | None = None,
        eval_dataset: Dataset | list | dict | None = None,
        processing_class: PreTrainedTokenizerBase | None = None,
        *,
        peft_config: PeftConfig | None = None,
        **kwargs,
    ):
        refuse_arguments({"data_collator": data_collator, **kwargs})
        args = LatentTrainingArguments("tmp_trainer") if args is None else args
        if not isinstance(args, LatentTrainingArguments):
            raise InputError(f"args are {type(args).__name__}; LatentTrainer needs LatentTrainingArguments")
        if processing_class is None:
            raise InputError("LatentTrainer needs the tokenizer; give it as processing_class")
        pad_on_the_left(processing_class)
        self.args, self.processing_class, self.peft_config = args, processing_class, peft_config
        self.step_objective = StepObjective(StepOptions(args.step_decoder_weight)) if args.step_decoder else None
        self.step_group = args.step_decoder_group or args.latents_per_step or 1
        first = self._first_model(model, kwargs)
        context = latent_model(first).config.max_position_embeddings
        group = None if self.step_objective is None else self.step_group
        self.batches = Batches(args, processing_class, self.train_objective, context, group)
        self.curriculum = self.batches.curriculum
        rows = [] if train_dataset is None else self.batches.encoded(train_dataset, "train")
        self.rows, self.dropped = self.batches.that_can_be_read(rows)
        self.stages = StageCallback(args, self.curriculum.num_stages, self._on_stage, lambda: evaluate_as_in_training(self))
        self._forget_terms()
        if args.advance_at is not None and (eval_dataset is None or isinstance(eval_dataset, dict)):
            raise InputError(f"advance_at={args.advance_at} needs one eval_dataset to measure accuracy on; give one")
        if kwargs.get("compute_metrics") is not None and not args.generate_in_eval:
            raise InputError(
                "compute_metrics needs generated answers, and generate_in_eval is off (or prediction_loss_only on)"
            )
        model_init = kwargs.pop("model_init", None)
        super().__init__(
            model=first,
            args=args,
            data_collator=list,
            train_dataset=RowNumbers(len(self.rows)) if self.rows else None,
            eval_dataset=read_again(eval_dataset),
            processing_class=processing_class,
            **kwargs,
        )
        self.model_init = model_init
        self.interruption = StopOnSignal()
        for callback in (self.stages, self.interruption):
            self.add_callback(callback)
        self.loss_is_scaled_for_ga = True  # every term is a share of a global sum
        self.model_accepts_loss_kwargs = True
        self._on_stage(self.stages.stage)
        refuse_launch(self.accelerator, args)
        for one in self.eval_dataset.values() if isinstance(self.eval_dataset, dict) else [self.eval_dataset]:
            if one is not None:  # what cannot be evaluated is said now and not after an epoch
                self._that_can_be_evaluated(one)

    # ---- the model ----

    def _first_model(self, model: nn.Module | str | None, given: dict) -> nn.Module:
        """Return the model to begin with: the one that is given, or what ``model_init`` returns for the run's seed."""
        self.model_init = given.get("model_init")
        if (model is None) == (self.model_init is None):
            raise InputError("LatentTrainer takes either model or model_init; give one of them")
        if model is not None:
            return self._ready(model)
        if given.get("optimizers", (None, None)) != (None, None):
            raise InputError(
                "optimizers hold the weights of one model, and model_init makes several; give optimizer_cls_and_kwargs"
            )
        if self.args.use_liger_kernel:
            raise InputError("use_liger_kernel=True changes one model, and model_init makes several; leave one of them out")
        seed(self.args)
        return self.call_model_init()

    def _ready(self, given: nn.Module | str) -> nn.Module:
        """Return a model with what the arguments ask for: feedback, rollout, step decoder, adapters."""
        args, model = self.args, starting_model(given, self.args, self.processing_class)  # type: ignore[arg-type]
        latent = latent_model(model)
        if not isinstance(latent, LatentForCausalLM):
            raise InputError(
                f"model is {type(latent).__name__}; LatentTrainer needs a LatentForCausalLM, or a base model to wrap"
            )
        latent.refuse_base_checkpointing()
        # `Trainer` calls what a search looks for ``objective``
        self.train_objective = build_objective(args.objective, args.objective_options, latent.config)  # type: ignore[arg-type]
        if args.keep_objective and not self.train_objective.has_parameters:
            raise InputError(f"keep_objective=True keeps nothing: objective={args.objective} has no weights; leave it out")
        take_over(model, args, self.step_group, self.train_objective)
        self.train_objective = latent.objective or self.train_objective  # the model's own, where it has its weights already
        if args.neftune_noise_alpha is not None and getattr(latent.feedback, "looks_up_tokens", True):
            raise InputError(
                "neftune_noise_alpha puts noise on every embedding looked up, and "
                f"feedback={args.feedback} with feedback_options={latent.config.feedback_options} looks up "
                "some for a latent; leave neftune_noise_alpha out"
            )
        latent.config.template = args.make_template().to_dict()
        curriculum = args.make_curriculum()
        thought = curriculum.latents(curriculum.num_stages - 1) if getattr(curriculum, "open_thoughts", False) else 0
        latent.generation_config.max_new_tokens = args.max_new_tokens + thought
        refuse_adapters(model, self.peft_config, args)
        return model if self.peft_config is None else add_adapters(model, self.peft_config)  # type: ignore[arg-type]

    # ---- batches ----

    @property
    def _epoch(self) -> int:
        """The epoch that runs or begins."""
        return int(self.state.epoch or 0)

    def _get_train_sampler(self, train_dataset=None) -> EpochSampler:
        shuffle = self.args.train_sampling_strategy != "sequential"
        grouped = self.args.train_sampling_strategy == "group_by_length"
        lengths = [row.longest for row in self.rows] if grouped else None
        seed = self.args.seed if self.args.data_seed is None else self.args.data_seed
        global_batch = train_batch_size(self) * self.args.world_size
        drop_last = self.args.dataloader_drop_last
        if drop_last and len(self.rows) < global_batch:
            raise InputError(f"dataloader_drop_last=True leaves none of {len(self.rows)} rows in batches of {global_batch}")
        return EpochSampler(len(self.rows), global_batch, seed, lambda: self._epoch, shuffle, lengths, drop_last)

    def get_batch_samples(self, epoch_iterator, num_batches: int, device) -> tuple[list[dict], Totals]:  # type: ignore[override]
        """Return the batches of one optimizer step at the current stage, and the totals their terms share."""
        self.stages.before_batch(self.args, self.state, self.optimizer, self.lr_scheduler)
        stage, epoch = self.stages.stage, self._epoch
        batches = [
            self.batches.batch(indices, self.rows, stage, epoch, self.state.global_step)
            for indices in itertools.islice(epoch_iterator, num_batches)
        ]
        if self.state.global_step == 0:  # a run that begins, perhaps anew with a smaller batch
            self._forget_terms()
        self._steps_summed += 1
        totals = self._totals(self.model_wrapped, batches, one_by_one=True)
        self._add_counts(totals)
        return batches, totals

    # ---- stages, training and saving ----

    def _on_stage(self, stage: int) -> None:
        """Write into the model's configuration the stage, and how many latents its prompts get there."""
        config = latent_model(self.accelerator.unwrap_model(self.model)).config
        config.stage, config.num_latents = stage, self.curriculum.latents(stage)
        group = None if self.step_objective is None else self.step_group
        config.latents_per_step = getattr(self.curriculum, "latents_per_step", group)
        config.open_thought = getattr(self.curriculum, "open_thoughts", False)

    def train(self, resume_from_checkpoint=None, **kwargs) -> TrainOutput:  # type: ignore[override]
        """Train; refuses an output folder that holds another run unless that run is resumed.

        Args:
            resume_from_checkpoint: a checkpoint folder, or True or "latest" for the newest complete one in the output
                folder, with which a run that was ended before its first checkpoint starts anew; False for none. None takes
                the setting of the training arguments.
            kwargs: passed on to `Trainer.train`.

        Raises:
            ValueError: no training problems, checkpoints of another run in the output folder or another run that trains in
                it, a damaged checkpoint, other problems or settings than it was saved with, or a stage out of reach.
            TrainingError: a loss or a weight that is not finite, or a checkpoint that cannot be written.
        """
        if not self.rows:
            raise InputError("train() needs train_dataset; it is empty or was not given")
        if kwargs.get("ignore_keys_for_eval"):
            raise InputError("ignore_keys_for_eval: only generated tokens are gathered in evaluation; leave it out")
        if resume_from_checkpoint is None:
            resume_from_checkpoint = self.args.resume_from_checkpoint
        folder = str(self.args.output_dir)
        refuse_other_run(folder, resume_from_checkpoint)
        resume_from_checkpoint = resumed_checkpoint(folder, resume_from_checkpoint)
        self.data_hash = data_hash([row.problem for row in self.rows])
        if resume_from_checkpoint:
            check_data(resume_from_checkpoint, self.data_hash)
        if self.args.use_liger_kernel:
            use_kernels(latent_model(self.model).base, self.args.liger_kernel_config)  # type: ignore[arg-type]
        self.accelerator.wait_for_everyone()
        with locked(folder, self.is_world_process_zero()) as self.lock:
            return super().train(resume_from_checkpoint=resume_from_checkpoint, **kwargs)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Save the model; weights that only training needs stay in checkpoints and leave the finished model unless kept."""
        self._finishes = not _internal_call
        super().save_model(output_dir, _internal_call)

    @property
    def _left_out(self) -> list[str]:
        """Parts of the model that leave it when it is finished."""
        kept = {"step_decoder": self.args.keep_step_decoder, "objective": self.args.keep_objective}
        return [name for name, keep in kept.items() if self._finishes and not keep]

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        """Save the model, without tied heads and without what only training needs."""
        model = self.accelerator.unwrap_model(self.model)
        if state_dict is not None:  # gathered from all ranks, where a tied head is a second tensor
            tied = latent_model(model).all_tied_weights_keys
            leave = tuple(f"{name}." for name in self._left_out)
            inside = "base_model.model." if model is not latent_model(model) else ""  # of adapters
            gone = [name for name in state_dict if name in tied or name.removeprefix(inside).startswith(leave)]
            state_dict = {name: value for name, value in state_dict.items() if name not in gone}
        with without_parts(model, self._left_out):
            super()._save(output_dir, state_dict)
