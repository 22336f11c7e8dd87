"""What the stock `Trainer` takes, and what becomes of it here: every setting is honoured, or refused where it is given.

The one table of it: `refuse_fields` and `refuse_arguments` refuse by it, docs/trainer.md shows it, and
tests/trainer_options walks every field and argument of the installed release through it.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from accelerate import ParallelismConfig
from transformers import Trainer, TrainingArguments

from latent_trainer.errors import InputError, nearest


@dataclass(frozen=True)
class Refusal:
    """Values of a setting that are not taken.

    Args:
        when: whether a value is one of them.
        why: what clashes and what to do instead.
        example: a value that is refused.
    """

    when: Callable[[Any], bool]
    why: str
    example: Any


@dataclass(frozen=True)
class Inherited:
    """Settings of the stock trainer and what they do here.

    Args:
        names: of the settings, with spaces between; one of `accelerator_config` has that before a dot.
        does: what a newcomer should know beyond the stock documentation.
        refusal: values that are not taken, if any.
        test: of this library, where more than stock code makes it work.
    """

    names: str
    does: str
    refusal: Refusal | None = None
    test: str = ""


def _set(why: str, example: Any = True) -> Refusal:
    """Return the refusal of whatever is set."""
    return Refusal(bool, why, example)


def _unset(why: str) -> Refusal:
    """Return the refusal of turning off what is on by default."""
    return Refusal(lambda value: value is False, why, False)


def parallel(config) -> bool:
    """Return whether an accelerate `ParallelismConfig` shares out rows, columns or weights in ways of its own."""
    return config is not None and any(getattr(config, f"{kind}_size", 1) > 1 for kind in ("tp", "cp", "sp"))


STOCK = "as in the stock trainer"
FIELDS = (
    Inherited("output_dir", "a folder that holds another run is refused", test="test_resuming"),
    Inherited(
        "do_train do_eval do_predict",
        "for scripts; `latent-trainer train` reads `do_eval` and refuses `do_predict`",
    ),
    Inherited(
        "num_train_epochs max_steps per_device_train_batch_size gradient_accumulation_steps",
        "loss terms are shares of a global count, whatever the batch is cut into; `max_steps=0` is refused",
        test="test_batch_and_accumulation",
    ),
    Inherited(
        "per_device_eval_batch_size",
        "results do not depend on it",
        test="test_evaluation_loss_does_not_depend_on_the_batch",
    ),
    Inherited("eval_accumulation_steps", "generated tokens leave the device after every batch"),
    Inherited(
        "learning_rate weight_decay adam_beta1 adam_beta2 adam_epsilon warmup_steps max_grad_norm "
        "optim_args optim_target_modules",
        STOCK,
    ),
    Inherited(
        "optim",
        f"{STOCK}; an optimizer with modes of its own (schedule-free) is in evaluation mode while a model is evaluated",
        test="test_every_optimizer",
    ),
    Inherited(
        "lr_scheduler_type lr_scheduler_kwargs",
        f"{STOCK}; plateaus are looked for in the metrics of `evaluate`, within a stage",
        test="test_every_scheduler",
    ),
    Inherited(
        "average_tokens_across_devices",
        "always on",
        _unset("every term is a share of the global count; leave it at true"),
    ),
    Inherited(
        "label_smoothing_factor",
        "in every written token's cross-entropy, those of steps and teachers too; not in the targets of latents "
        "(`latent_tokens`); as in the stock trainer also in `eval_loss`. "
        "Refused beside `use_liger_kernel`",
        test="test_label_smoothing",
    ),
    Inherited(
        "neftune_noise_alpha",
        "noise on the tokens' embeddings while training, none on latents. Refused beside a feedback that looks "
        "up embeddings for a latent: `soft`, `fused`, `norm: embedding`",
        test="test_noise_is_for_training",
    ),
    Inherited("bf16", "training and evaluation compute in bfloat16 (autocast)", test="test_bfloat16"),
    Inherited("fp16", "the same in float16; refused without a GPU, because it would have no effect", test="test_float16"),
    Inherited(
        "bf16_full_eval fp16_full_eval",
        "outside training, evaluation converts parameters to this type and restores them afterwards. Refused with "
        "DeepSpeed and FSDP",
        test="test_full_evaluation",
    ),
    Inherited("tf32 use_cache torch_empty_cache_steps full_determinism use_cpu", STOCK),
    Inherited(
        "activation_checkpointing activation_checkpointing_kwargs gradient_checkpointing gradient_checkpointing_kwargs",
        "of the passes of a rollout (docs/performance.md)",
        test="test_rollouts",
    ),
    Inherited(
        "torch_compile torch_compile_backend torch_compile_mode",
        "the passes of a rollout differ in shape from batch to batch, and compiling each takes far longer than it saves",
        _set("the passes of a rollout differ in shape, so each would be recompiled; leave it out", "eager"),
    ),
    Inherited(
        "use_liger_kernel liger_kernel_config",
        "kernels of the base model (docs/performance.md)",
        test="test_losses_go_through_the_kernel",
    ),
    Inherited(
        "auto_find_batch_size",
        "a smaller batch restarts the run, at its first stage",
        test="test_a_batch_that_fits",
    ),
    Inherited(
        "logging_strategy logging_steps logging_first_step log_level log_level_replica log_on_each_node "
        "disable_tqdm report_to run_name project trackio_space_id trackio_bucket_id "
        "trackio_static_space_id",
        f"{STOCK}; every entry has its stage",
        test="test_stage_in_every_entry",
    ),
    Inherited(
        "logging_nan_inf_filter",
        "nothing to filter: a loss that is not finite ends the run",
    ),
    Inherited(
        "include_num_input_tokens_seen",
        "all columns the model reads, prompts and views; `non_padding` also leaves out the filler rows of a last batch",
        test="test_tokens_seen",
    ),
    Inherited(
        "skip_memory_metrics", "off: `train` and `evaluate` report the memory they used", test="test_memory_of_evaluation"
    ),
    Inherited(
        "debug",
        "a loss that is not finite ends the run and names its problems",
        _set(
            "it looks at the outputs of stock forwards; torch.autograd.set_detect_anomaly(True) finds the first NaN",
            "underflow_overflow",
        ),
    ),
    Inherited(
        "eval_strategy eval_steps eval_delay eval_on_start",
        "an evaluation does not affect training",
        test="test_evaluations_leave_no_trace",
    ),
    Inherited(
        "prediction_loss_only",
        "`evaluate` gives only the loss, as with `generate_in_eval=False`",
        test="test_the_loss_alone",
    ),
    Inherited(
        "eval_use_gather_object",
        "generated tokens are always gathered as objects",
    ),
    Inherited(
        "eval_do_concat_batches",
        "always on",
        _unset("predictions are one array over all problems; leave it at true"),
    ),
    Inherited(
        "batch_eval_metrics",
        "metrics are computed over all problems",
        _set("compute_metrics gets all problems at once; leave it out"),
    ),
    Inherited(
        "include_for_metrics",
        "`inputs`: the prompts",
        Refusal(
            lambda names: any(name != "inputs" for name in names or ()),
            "compute_metrics gets predictions, labels and, if asked for, inputs; eval_loss is logged anyway",
            ["loss"],
        ),
        test="test_compute_metrics",
    ),
    Inherited(
        "label_names",
        "labels are those of the views",
        _set("labels are what the template writes, and have no columns; leave it out", ["labels"]),
    ),
    Inherited(
        "save_strategy save_steps save_total_limit save_only_model save_on_each_node",
        f"{STOCK}; saving is atomic (docs/reliability.md)",
        test="test_save_total_limit",
    ),
    Inherited(
        "enable_jit_checkpoint",
        "SIGTERM and SIGINT always save a checkpoint and end the run",
        _set("a signal already saves a checkpoint and stops the run; leave it out"),
    ),
    Inherited(
        "load_best_model_at_end metric_for_best_model greater_is_better",
        "any metric of `evaluate`, such as `eval_accuracy`; stages do not compete",
        test="test_best_model_comes_back",
    ),
    Inherited(
        "resume_from_checkpoint",
        "false, true, latest or a folder; also read from the training arguments, as stock scripts do",
        test="test_resuming",
    ),
    Inherited("ignore_data_skip", STOCK),
    Inherited(
        "restore_callback_states_from_checkpoint",
        f"{STOCK}; the stage is restored in any case",
        test="test_callbacks_come_back",
    ),
    Inherited("push_to_hub hub_model_id hub_token hub_private_repo hub_revision", "docs/hub.md"),
    Inherited(
        "hub_strategy",
        "`every_save` counts as `end`; `checkpoint` and `all_checkpoints` push pickles and are refused with `push_to_hub`",
    ),
    Inherited(
        "hub_always_push",
        "nothing is pushed while training",
        _set("nothing is pushed before training ends; leave it out"),
    ),
    Inherited("seed", "also seeds evaluation, for base models that draw random numbers outside training"),
    Inherited("data_seed", "the order of rows"),
    Inherited(
        "dataloader_drop_last",
        "a training epoch leaves out the rows of its last, smaller batch (otherwise fillers without labels complete it); "
        "evaluation takes every problem",
        test="test_the_last_batch_is_dropped",
    ),
    Inherited(
        "dataloader_num_workers dataloader_persistent_workers dataloader_prefetch_factor "
        "dataloader_multiprocessing_context dataloader_in_order dataloader_pin_memory",
        "workers only carry row numbers, which need no pinned memory; batches are built in the training process",
        test="test_loader_workers",
    ),
    Inherited(
        "remove_unused_columns",
        "columns of a data set that are not fields of a problem never reach the model",
    ),
    Inherited(
        "train_sampling_strategy",
        "random, sequential or group_by_length",
        test="test_the_last_batch_is_dropped",
    ),
    Inherited(
        "length_column_name",
        "lengths are counted, in tokens of the longest view",
        Refusal(lambda name: name != "length", "lengths are counted and not read from a column; leave it out", "size"),
    ),
    Inherited(
        "accelerator_config",
        "see its parts",
    ),
    Inherited(
        "accelerator_config.split_batches",
        "batches are those of one process",
        _set("batches are those of one process; divide per_device_train_batch_size by the processes"),
    ),
    Inherited(
        "accelerator_config.dispatch_batches",
        "every process builds its own batches",
        _set("every process builds its own batches; leave it out"),
    ),
    Inherited("accelerator_config.even_batches", "batches are even: fillers without labels complete the last"),
    Inherited(
        "accelerator_config.use_seedable_sampler",
        "always on",
        _unset("the order of rows is drawn from the seed and the epoch; leave it at true"),
    ),
    Inherited(
        "accelerator_config.non_blocking",
        "rows are few numbers",
        _set("batches are built in the training process, in memory that is not pinned; leave it out"),
    ),
    Inherited(
        "accelerator_config.gradient_accumulation_kwargs accelerator_config.use_configured_state",
        STOCK,
    ),
    Inherited(
        "parallelism_config",
        "data-parallel sizes only",
        Refusal(
            parallel,
            "tensor, context and sequence parallelism split rows that hold latents; use data parallelism (docs/scaling.md)",
            ParallelismConfig(cp_size=2),
        ),
    ),
    Inherited(
        "ddp_find_unused_parameters ddp_bucket_cap_mb ddp_broadcast_buffers ddp_static_graph ddp_backend "
        "ddp_timeout local_rank",
        STOCK,
    ),
    Inherited("fsdp fsdp_config deepspeed", "docs/scaling.md"),
)
ARGUMENTS = (
    Inherited("model", "a latent model, or the name of a base model to wrap", test="test_model_as_a_string"),
    Inherited("args", "`LatentTrainingArguments`; by default those of a folder tmp_trainer", test="test_arguments_of_stock"),
    Inherited(
        "data_collator",
        "a batch is built from problems for the current stage",
        _set("batches are built from problems for the current stage; change template or curriculum instead", list),
    ),
    Inherited(
        "train_dataset",
        "problems, of a `datasets` data set, streamed or not, or any iterable; read to its end and encoded once",
        test="test_streamed_problems",
    ),
    Inherited(
        "eval_dataset",
        "the same, or a dictionary of them; `evaluate` takes the name of one",
        test="test_evaluate_one_of_several",
    ),
    Inherited("processing_class", "the tokenizer", test="test_trainer_without_a_tokenizer"),
    Inherited(
        "model_init",
        "called for every `train`, with the trial of a `hyperparameter_search`; its model is prepared like `model`",
        test="test_hyperparameter_search",
    ),
    Inherited(
        "compute_loss_func",
        "`objective` says what is scored",
        _set(
            "the objective computes the loss; choose one with objective, or add one to latent_trainer.methods.objectives",
            len,
        ),
    ),
    Inherited(
        "compute_metrics",
        "as in `Seq2SeqTrainer` with generation: `predictions` are the tokens written for a problem, `label_ids` those it "
        "is trained to write at this stage, both (N, longest), padded with -100; needs `generate_in_eval`",
        test="test_compute_metrics",
    ),
    Inherited("callbacks", STOCK, test="test_early_stopping"),
    Inherited("optimizers optimizer_cls_and_kwargs", STOCK, test="test_own_optimizer"),
    Inherited(
        "preprocess_logits_for_metrics",
        "metrics see the generated tokens",
        _set("metrics see generated tokens, not logits; leave it out", len),
    ),
)


def _entries(table: tuple[Inherited, ...]) -> dict[str, Inherited]:
    return {name: entry for entry in table for name in entry.names.split()}


def refuse_fields(args: TrainingArguments) -> None:
    """Raise an `InputError` for a field of the stock training arguments whose value is not taken."""
    for name, entry in _entries(FIELDS).items():
        owner, _, field = name.rpartition(".")
        value = getattr(getattr(args, owner) if owner else args, field, None)
        if entry.refusal is not None and entry.refusal.when(value):
            raise InputError(f"{name}={_short(value)}: {entry.refusal.why}")


def refuse_arguments(given: dict) -> None:
    """Raise an `InputError` for an argument of the stock trainer that is not taken, or that it does not have."""
    entries = _entries(ARGUMENTS)
    for name, value in given.items():
        if name not in inspect.signature(Trainer.__init__).parameters:
            raise InputError(f"LatentTrainer has no argument '{name}'{nearest(name, entries)}")
        refusal = entries[name].refusal if name in entries else None
        if refusal is not None and value is not None:
            raise InputError(f"{name} is given: {refusal.why}")


def _short(value) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= 80 else f"{text[:77]}..."
