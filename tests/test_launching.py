"""What a launch cannot do is refused in one line; tests/distributed launches what it can."""

from types import SimpleNamespace

import pytest
from accelerate.utils import DistributedType, DynamoBackend
from conftest import make_latent
from peft import LoraConfig

from latent_trainer.errors import InputError
from latent_trainer.model.adapters import add_adapters
from latent_trainer.training import launching

SOME_ROWS = {"base.transformer.wte": [3]}


def arguments(distributed_type=DistributedType.MULTI_GPU, fsdp=None, reset_optimizer="never"):
    """Return the training arguments that matter here."""
    state = SimpleNamespace(distributed_type=distributed_type)
    return SimpleNamespace(distributed_state=state, fsdp=fsdp, reset_optimizer=reset_optimizer, full_eval_dtype=None)


def launched(distributed_type, **more):
    """Return what matters here of an accelerator that compiles nothing."""
    state = SimpleNamespace(dynamo_plugin=SimpleNamespace(backend=DynamoBackend.NO))
    return SimpleNamespace(distributed_type=distributed_type, state=state, **more)


def line(function, *args) -> str:
    """Return the one line that a function refuses its arguments with."""
    with pytest.raises(InputError) as refusal:
        function(*args)
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


@pytest.mark.parametrize("strategy", ["zero3", "fsdp from the launcher", "fsdp from the recipe"])
def test_rows_of_a_sharded_embedding(monkeypatch, strategy):
    monkeypatch.setattr(launching, "is_deepspeed_zero3_enabled", lambda: strategy == "zero3")
    monkeypatch.setenv("ACCELERATE_USE_FSDP", str(strategy == "fsdp from the launcher").lower())
    args = arguments(fsdp=True if strategy == "fsdp from the recipe" else None)
    model = make_latent()
    for peft_config in (LoraConfig(), LoraConfig(trainable_token_indices=[1])):
        said = line(launching.refuse_adapters, model, peft_config, args)
        assert "zero2.yaml" in said and "trainable_token_indices={}" in said
    launching.refuse_adapters(model, None, args)
    launching.refuse_adapters(model, LoraConfig(trainable_token_indices={}), args)
    launching.refuse_adapters(add_adapters(make_latent(), LoraConfig(trainable_token_indices={})), None, args)
    line(launching.refuse_adapters, add_adapters(model, LoraConfig(trainable_token_indices=SOME_ROWS)), None, args)


def test_rows_of_an_embedding_that_is_whole(monkeypatch):
    """DDP and ZeRO-2 train them, and so does a CPU, where accelerate leaves FSDP out."""
    launching.refuse_adapters(make_latent(), LoraConfig(), arguments())
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    launching.refuse_adapters(make_latent(), LoraConfig(), arguments(DistributedType.MULTI_CPU))


def test_resetting_the_optimizer():
    deepspeed = launched(DistributedType.DEEPSPEED)
    assert "reset_optimizer=never" in line(launching.refuse_launch, deepspeed, arguments(reset_optimizer="epoch"))
    launching.refuse_launch(deepspeed, arguments())
    launching.refuse_launch(launched(DistributedType.MULTI_GPU), arguments(reset_optimizer="stage"))


def test_the_first_fsdp():
    for second in (False, True):
        accelerator = launched(DistributedType.FSDP, is_fsdp2=second)
        if second:
            launching.refuse_launch(accelerator, arguments(reset_optimizer="stage"))
        else:
            assert "fsdp_version: 2" in line(launching.refuse_launch, accelerator, arguments())


def test_evaluation_of_a_partitioned_model():
    model = make_latent()
    launching.refuse_evaluation(model, None)
    next(model.parameters()).ds_id = 0
    launching.refuse_evaluation(model, object())
    assert "eval_on_start" in line(launching.refuse_evaluation, model, None)
