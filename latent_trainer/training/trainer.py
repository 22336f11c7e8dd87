"""`LatentTrainer`: the Hugging Face `Trainer` over problems, stages and views."""

import contextlib
import itertools

import torch
from datasets import Dataset
from peft import PeftConfig
from torch import nn
from transformers import PreTrainedTokenizerBase, Trainer

from latent_trainer.compat import evaluate_as_in_training, prepared, train_batch_size
from latent_trainer.data import EncodedProblem, Encoder, LatentCollator, View, as_problems
from latent_trainer.data.lengths import Room
from latent_trainer.data.thought_tokens import pad_on_the_left
from latent_trainer.errors import InputError, TrainingError
from latent_trainer.evaluation.record import data_hash
from latent_trainer.hub.publishing import Publishing
from latent_trainer.methods.curriculum import Plan, row_rng
from latent_trainer.methods.objectives import OBJECTIVES
from latent_trainer.methods.objectives.steps import StepObjective
from latent_trainer.model.adapters import add_adapters, latent_model, take_over, without_step_decoder
from latent_trainer.model.modeling import LatentForCausalLM
from latent_trainer.training.checkpoints import check_data, last_good, refuse_other_run, resumed_checkpoint
from latent_trainer.training.inherited import refuse_arguments
from latent_trainer.training.interruption import StopOnSignal
from latent_trainer.training.kernels import use_kernels
from latent_trainer.training.launching import refuse_adapters, refuse_launch
from latent_trainer.training.resuming import SameRun
from latent_trainer.training.samplers import EpochSampler, RowNumbers
from latent_trainer.training.saving import WholeCheckpoints, locked
from latent_trainer.training.seeding import seed, starting_model
from latent_trainer.training.stages import StageCallback
from latent_trainer.training.trainer_evaluation import Evaluation, read_again
from latent_trainer.training.training_args import LatentTrainingArguments
from latent_trainer.training.trials import Trials


class LatentTrainer(WholeCheckpoints, SameRun, Publishing, Evaluation, Trials, Trainer):
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

    def __init__(
        self,
        model: LatentForCausalLM | str | None = None,
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
            raise InputError(
                f"args are {type(args).__name__}; LatentTrainer needs LatentTrainingArguments, which have all of them"
            )
        if processing_class is None:
            raise InputError("LatentTrainer needs the tokenizer; give it as processing_class")
        pad_on_the_left(processing_class)
        self.args, self.processing_class, self.peft_config = args, processing_class, peft_config
        self.curriculum = args.make_curriculum()
        # `Trainer` calls what a search looks for ``objective``
        self.train_objective = OBJECTIVES[args.objective](**(args.objective_options or {}))
        self.step_objective = StepObjective(args.step_decoder_weight) if args.step_decoder else None
        self.step_group = args.step_decoder_group or args.latents_per_step or 1
        model = self._first_model(model, kwargs)
        self.encoder = Encoder(processing_class, args.make_template())
        self.collator = LatentCollator(self.encoder.pad)
        latent = latent_model(model)
        most_latents = self.curriculum.latents(self.curriculum.num_stages - 1)
        self.room = Room(self.encoder, latent.config.max_position_embeddings, most_latents, args.max_new_tokens)
        rows = [] if train_dataset is None else self._encode(train_dataset, "train")
        self.rows, self.dropped = self._that_can_be_read(rows)
        self.stages = StageCallback(args, self.curriculum.num_stages, self._on_stage, lambda: evaluate_as_in_training(self))
        self._term_sums: dict[str, torch.Tensor] = {}
        self._steps_summed = 0
        if args.advance_at is not None and (eval_dataset is None or isinstance(eval_dataset, dict)):
            raise InputError(f"advance_at={args.advance_at} needs one eval_dataset to measure accuracy on; give one")
        if kwargs.get("compute_metrics") is not None and not args.generate_in_eval:
            raise InputError(
                "compute_metrics sees what is written, and generate_in_eval is off (or prediction_loss_only on)"
            )
        model_init = kwargs.pop("model_init", None)
        super().__init__(
            model=model,
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

    def _first_model(self, model: LatentForCausalLM | str | None, given: dict) -> nn.Module:
        """Return the model to begin with: the one that is given, or what ``model_init`` returns for the run's seed."""
        self.model_init = given.get("model_init")
        if (model is None) == (self.model_init is None):
            raise InputError("LatentTrainer takes either model or model_init; give one of them")
        if self.model_init is None:
            return self._ready(model)
        if given.get("optimizers", (None, None)) != (None, None):
            raise InputError(
                "optimizers hold the weights of one model, and model_init makes several; give optimizer_cls_and_kwargs"
            )
        if self.args.use_liger_kernel:
            raise InputError("use_liger_kernel=True changes one model, and model_init makes several; leave one of them out")
        seed(self.args)
        return self.call_model_init()

    def _ready(self, model: LatentForCausalLM | str) -> nn.Module:
        """Return a model with what the arguments ask for: feedback, rollout, step decoder, adapters."""
        args, model = self.args, starting_model(model, self.args, self.processing_class)
        latent = latent_model(model)
        if not isinstance(latent, LatentForCausalLM):
            raise InputError(
                f"model is {type(latent).__name__}; LatentTrainer needs a LatentForCausalLM, or a base model to wrap"
            )
        latent.refuse_base_checkpointing()
        take_over(model, args, self.step_group)
        latent.config.template = args.make_template().to_dict()
        latent.generation_config.max_new_tokens = args.max_new_tokens
        refuse_adapters(model, self.peft_config, args)
        return model if self.peft_config is None else add_adapters(model, self.peft_config)

    # ---- problems to batches ----

    def _encode(self, problems, split: str) -> list[EncodedProblem]:
        problems = as_problems(problems)
        if not problems:
            raise InputError(f"the {split} dataset is empty; give it at least one problem")
        writes_steps = self.curriculum.plan(0, 0, row_rng(0, 0, 0)).skip_steps == 0
        return self.encoder.problems(problems, writes_steps)

    def _that_can_be_read(self, rows: list[EncodedProblem]) -> tuple[list[EncodedProblem], int]:
        """Return the problems that fit the context at every stage and in every view, and the number of the others."""
        group = None if self.step_objective is None else self.step_group
        return self.room.read(rows, self.curriculum.plans, "explicit" in self.train_objective.views, group)

    def _plan(self, row: EncodedProblem, index: int | None = None) -> Plan:
        """Return what a row looks like at the current stage; as training draws it where its number is given."""
        rng = None if index is None else row_rng(self.args.seed, self._epoch, index)
        return self.curriculum.plan(self.stages.stage, len(row.steps), rng)

    def _views(self, row: EncodedProblem, plan: Plan, scored: bool) -> dict[str, View]:
        """Return the views of a row; without labels where it only fills up a batch."""
        views = {"latent": self.encoder.latent_view(row, plan)}
        if "explicit" in self.train_objective.views:
            views["explicit"] = self.encoder.explicit_view(row, self.train_objective.skip_last_step)
        if scored:
            return views
        return {name: View(view.input_ids, [-100] * len(view.labels), view.answer_start) for name, view in views.items()}

    def _batch(self, indices: list[int], rows: list[EncodedProblem], draws: bool = True) -> dict:
        """Put a batch together; an index past the end stands for a filler (see `EpochSampler`).

        Args:
            indices: numbers of rows.
            rows: all there are.
            draws: whether the curriculum may draw at random, as in training.
        """
        chosen = [(rows[index % len(rows)], index < len(rows)) for index in indices]
        numbers = [index % len(rows) if draws else None for index in indices]
        plans = [self._plan(row, number) for number, (row, _) in zip(numbers, chosen, strict=True)]
        views = [self._views(row, plan, scored) for (row, scored), plan in zip(chosen, plans, strict=True)]
        batch = self.collator([(row.prompt, own) for (row, _), own in zip(chosen, views, strict=True)])
        batch["rows"] = torch.tensor([scored for _, scored in chosen])
        batch["ids"] = [row.problem.id for row, scored in chosen if scored]
        if self.step_objective is not None:
            targets = [
                self.encoder.step_targets(row, plan, self.step_group) if scored else []
                for (row, scored), plan in zip(chosen, plans, strict=True)
            ]
            batch["steps"] = self.collator.steps(targets, self.step_group)
        return batch

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

    def get_batch_samples(self, epoch_iterator, num_batches: int, device) -> tuple[list[dict], dict]:
        """Return the batches of one optimizer step at the current stage, and the global counts their terms share."""
        self.stages.before_batch(self.args, self.state, self.optimizer, self.lr_scheduler)
        batches = [self._batch(indices, self.rows) for indices in itertools.islice(epoch_iterator, num_batches)]
        if self.state.global_step == 0:  # a run that begins, perhaps anew with a smaller batch
            self._term_sums, self._steps_summed = {}, 0
        self._steps_summed += 1
        counts = self._counts(batches)
        if self.train_objective.statistics_view is not None and len(batches) > 1:
            counts["statistics"] = self._statistics(self.model_wrapped, batches)
        return batches, counts

    def _counts(self, batches: list[dict]) -> dict[str, int]:
        """Count rows and labelled tokens per view over all processes and accumulation steps."""
        counts = {"rows": sum(int(batch["rows"].sum()) for batch in batches)}
        for view in self.train_objective.views:
            labels = (batch["views"][view]["labels"] for batch in batches)
            counts[f"{view}_tokens"] = sum(int((label != -100).sum()) for label in labels)
        if self.step_objective is not None:
            counts["steps_tokens"] = sum(int((batch["steps"]["labels"] != -100).sum()) for batch in batches)
        total = torch.tensor(list(counts.values()), device=self.args.device)
        total = self.accelerator.reduce(total, "sum").tolist()
        return dict(zip(counts, total, strict=True))

    @torch.no_grad()
    def _statistics(self, model, batches: list[dict]) -> torch.Tensor:
        """Add up the objective's statistics over several batches and all processes, in passes of their own.

        Needed only where the terms of a batch depend on batches that come after it; a single batch takes its statistics from
        the outputs it has anyway.
        """
        total = 0.0
        for batch in batches:
            views = {self.train_objective.statistics_view: batch["views"][self.train_objective.statistics_view]}
            inputs = prepared(self, {**batch, "views": views, "steps": None})
            total += self.train_objective.statistics(self._outputs(model, inputs), inputs)
        return self.accelerator.reduce(total, "sum")

    # ---- loss ----

    def _outputs(self, model, batch: dict) -> dict:
        """Return the model's outputs per view of a batch on the device."""
        return model(
            input_ids=batch["input_ids"],
            attention_mask=batch["attention_mask"],
            views=batch["views"],
            steps=batch.get("steps"),
            output_hidden_states=self.train_objective.needs_hidden_states,
            label_smoothing=self.args.label_smoothing_factor,
        )

    def _track_num_input_tokens(self, inputs: dict) -> None:
        super()._track_num_input_tokens(_columns(inputs))

    def floating_point_ops(self, inputs: dict) -> int:
        """Return the operations of a training step, estimated from all columns it reads."""
        return super().floating_point_ops(_columns(inputs))

    def _terms(self, outputs: dict, batch: dict, counts: dict) -> dict[str, torch.Tensor]:
        """Return the objective's terms, and the step decoder's where there is one."""
        terms = self.train_objective(outputs, batch, counts)
        return terms if self.step_objective is None else terms | self.step_objective(outputs, batch, counts)

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """Return the sum of the objective's terms, scaled so that averaging over processes gives the global loss."""
        outputs = self._outputs(model, inputs)
        counts = num_items_in_batch
        if self.train_objective.statistics_view is not None and "statistics" not in counts:
            counts = {
                **counts,
                "statistics": self.accelerator.reduce(self.train_objective.statistics(outputs, inputs), "sum"),
            }
        terms = self._terms(outputs, inputs, counts)
        for name, term in terms.items():
            self._term_sums[name] = self._term_sums.get(name, 0.0) + term.detach()
        loss = sum(terms.values()) * self.accelerator.num_processes
        if not torch.isfinite(loss):
            raise TrainingError(
                f"the loss is {loss.item()} at step {self.state.global_step + 1}, problems {inputs['ids']}; "
                f"begin a run with a lower learning_rate or without those problems; {last_good(self.args.output_dir)}"
            )
        return (loss, outputs) if return_outputs else loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the stage, and the objective's terms where there is more than one, to what is logged."""
        logs["stage"] = self.stages.stage
        if "loss" in logs:
            if len(self._term_sums) > 1:
                for name, total in self._term_sums.items():
                    logs[f"loss_{name}"] = self.accelerator.reduce(total, "sum").item() / self._steps_summed
            self._term_sums, self._steps_summed = {}, 0
        super().log(logs, start_time)

    # ---- stages, training and saving ----

    def _on_stage(self, stage: int) -> None:
        """Write into the model's configuration the stage, and how many latents its prompts get there."""
        config = latent_model(self.accelerator.unwrap_model(self.model)).config
        config.stage, config.num_latents = stage, self.curriculum.latents(stage)

    def train(self, resume_from_checkpoint=None, **kwargs):
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
            raise InputError("ignore_keys_for_eval: nothing but written tokens is gathered in evaluation; leave it out")
        if resume_from_checkpoint is None:
            resume_from_checkpoint = self.args.resume_from_checkpoint
        refuse_other_run(self.args.output_dir, resume_from_checkpoint)
        resume_from_checkpoint = resumed_checkpoint(self.args.output_dir, resume_from_checkpoint)
        self.data_hash = data_hash([row.problem for row in self.rows])
        if resume_from_checkpoint:
            check_data(resume_from_checkpoint, self.data_hash)
        if self.args.use_liger_kernel:
            use_kernels(latent_model(self.model).base, self.args.liger_kernel_config)
        self.accelerator.wait_for_everyone()
        with locked(self.args.output_dir, self.is_world_process_zero()) as self.lock:
            return super().train(resume_from_checkpoint=resume_from_checkpoint, **kwargs)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Save the model; a step decoder's weights stay in checkpoints and leave the finished model unless it is kept."""
        self._drops_step_decoder = not (_internal_call or self.args.keep_step_decoder)
        super().save_model(output_dir, _internal_call)

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        """Save the model, without tied heads and, where it goes, without the step decoder."""
        model = self.accelerator.unwrap_model(self.model)
        if state_dict is not None:  # gathered from all ranks, where a tied head is a second tensor
            tied = latent_model(model).all_tied_weights_keys
            state_dict = {name: value for name, value in state_dict.items() if name not in tied}
        with without_step_decoder(model) if self._drops_step_decoder else contextlib.nullcontext():
            if self._drops_step_decoder and state_dict is not None:
                state_dict = {name: value for name, value in state_dict.items() if "step_decoder." not in name}
            super()._save(output_dir, state_dict)


def _columns(batch: dict) -> dict[str, torch.Tensor]:
    """Return token ids and mask of all columns a model reads of a batch: prompts and views; fillers count as padding."""
    parts = [batch, *batch["views"].values()]
    masks = [part["attention_mask"] * batch["rows"].unsqueeze(1) for part in parts]
    ids = [part["input_ids"].flatten() for part in parts]
    return {"input_ids": torch.cat(ids), "attention_mask": torch.cat([mask.flatten() for mask in masks])}
