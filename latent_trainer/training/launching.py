"""What a launch cannot do with latents, refused in one line before anything is trained."""

import os

from accelerate import Accelerator
from accelerate.utils import DistributedType, DynamoBackend
from peft import LoraConfig, PeftConfig, PeftModel
from torch import nn
from transformers.integrations import is_deepspeed_zero3_enabled
from transformers.utils import strtobool

from latent_trainer.errors import InputError
from latent_trainer.sharding import is_partitioned
from latent_trainer.training.inherited import parallel
from latent_trainer.training.training_args import LatentTrainingArguments


def refuse_adapters(model: nn.Module, peft_config: PeftConfig | None, args: LatentTrainingArguments) -> None:
    """Raise an `InputError` where ZeRO-3 or FSDP2 would share out an embedding of which single rows train.

    Args:
        model: the model to train; its adapters count if it has some.
        peft_config: of the adapters it is to get, if any.
        args: says how the run was launched.
    """
    fsdp = args.fsdp or strtobool(os.environ.get("ACCELERATE_USE_FSDP", "false"))
    on_cpu = args.distributed_state.distributed_type in (DistributedType.NO, DistributedType.MULTI_CPU)
    if not is_deepspeed_zero3_enabled() and (not fsdp or on_cpu):
        return
    configs = list(model.peft_config.values()) if isinstance(model, PeftModel) else []
    rows = any(getattr(config, "trainable_token_indices", None) for config in configs)
    if rows or (isinstance(peft_config, LoraConfig) and peft_config.trainable_token_indices != {}):
        raise InputError(
            "adapters train the rows of the thought tokens, which peft cannot do if ZeRO-3 or FSDP2 shards the "
            "embedding; launch with ddp.yaml or zero2.yaml, or leave those rows alone with "
            "LoraConfig(trainable_token_indices={})"
        )


def refuse_launch(accelerator: Accelerator, args: LatentTrainingArguments) -> None:
    """Raise an `InputError` where the launched strategy cannot do what the training arguments ask for.

    Args:
        accelerator: what was launched.
        args: the training arguments.
    """
    parallelism = getattr(accelerator, "parallelism_config", None)  # of the launcher, beside that of the arguments
    if parallel(parallelism):
        raise InputError(
            "a launch with tensor, context or sequence parallelism splits rows that hold latents; use data parallelism"
        )
    if accelerator.state.dynamo_plugin.backend != DynamoBackend.NO:
        raise InputError(
            "a launch with dynamo_backend would recompile every pass of a rollout, because their shapes differ; leave it out"
        )
    if accelerator.distributed_type == DistributedType.DEEPSPEED and args.reset_optimizer != "never":
        raise InputError(
            f"reset_optimizer='{args.reset_optimizer}' cannot reach the partitioned optimizer of DeepSpeed; "
            "set reset_optimizer=never or launch without DeepSpeed"
        )
    if args.full_eval_dtype is not None and accelerator.distributed_type in (
        DistributedType.DEEPSPEED,
        DistributedType.FSDP,
    ):
        raise InputError(
            "bf16_full_eval and fp16_full_eval cannot change parameters that DeepSpeed or FSDP holds; leave them out"
        )
    if accelerator.distributed_type == DistributedType.FSDP and not accelerator.is_fsdp2:
        raise InputError(
            "fsdp_version=1 cannot run a layer several times in a step; set fsdp_version: 2, as fsdp2.yaml does"
        )


def refuse_evaluation(model: nn.Module, engine) -> None:
    """Raise an `InputError` where ZeRO-3 has partitioned a model as it was made, and no engine is there to gather it.

    Args:
        model: the model to evaluate.
        engine: what DeepSpeed has made of it for training, None before that.
    """
    if engine is None and is_partitioned(next(model.parameters())):
        raise InputError(
            "evaluate() before train() finds the model partitioned by ZeRO-3; use eval_on_start=True, or latent-trainer "
            "evaluate on a saved model"
        )
