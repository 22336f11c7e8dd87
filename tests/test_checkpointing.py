"""Gradient checkpointing of a rollout: the same loss and gradients, and far fewer activations kept."""

import pytest
import torch
from conftest import ARCHITECTURES, make_base, make_latent
from peft import LoraConfig
from reference import assert_close
from scoring import AT_ANSWER
from training import make_trainer

from latent_trainer import LatentForCausalLM, LatentTrainingArguments
from latent_trainer.errors import InputError

CHECKPOINTING = "activation_checkpointing"
if CHECKPOINTING not in LatentTrainingArguments.__dataclass_fields__:  # its name before transformers 5.23
    CHECKPOINTING = "gradient_checkpointing"
ROLLOUTS = {
    "full": {},
    "last": {"backprop": "last"},
    "none": {"backprop": "none"},
    "jacobi": {"rollout": "jacobi", "rollout_options": {"iterations": 2}},
    "looped": {"rollout": "looped", "rollout_options": {"iterations": 2}},
    "soft": {"feedback": "soft"},
}


def batch() -> dict:
    """Return two views of ragged rows with latents at different columns."""
    torch.manual_seed(0)
    prompt = torch.randint(1, 90, (3, 7))
    mask = torch.ones_like(prompt)
    mask[1, :3] = 0
    latent = torch.randint(1, 90, (3, 9))
    latent[:, 0] = 98
    latent[0, 1:4] = latent[1, 1:5] = latent[2, 1:2] = 97
    latent[0, 4] = latent[1, 5] = latent[2, 2] = 99
    explicit = torch.randint(1, 90, (3, 6))
    views = {}
    for name, ids, first in (("latent", latent, 5), ("explicit", explicit, 0)):  # the prompt's last column predicts one
        labels = torch.where((ids < 97) & (torch.arange(ids.shape[1]) >= first), ids, -100)
        start = torch.full((3,), ids.shape[1] - 1)
        views[name] = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels, "answer_start": start}
    return {"input_ids": prompt, "attention_mask": mask, "views": views, "needs": AT_ANSWER}


def gradients(model, checkpoint: bool) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Return the loss over both views and every parameter's gradient."""
    if checkpoint:
        model.gradient_checkpointing_enable()
    else:
        model.gradient_checkpointing_disable()
    model.train().zero_grad()
    torch.manual_seed(1)  # dropout draws the same masks
    outputs = model(**batch())
    loss = sum(
        one.token_loss.sum() + sum(layer.pow(2).sum() for layer in one.hidden_states["answer"]) for one in outputs.values()
    )
    loss.backward()
    return loss.detach(), {name: value.grad.clone() for name, value in model.named_parameters() if value.grad is not None}


def assert_same(model) -> None:
    """Assert that loss and gradients are those without checkpointing."""
    (plain, wanted), (loss, found) = (gradients(model, checkpoint) for checkpoint in (False, True))
    tolerance = 1e-10 if model.dtype == torch.float64 else 1e-5
    assert plain.isfinite() and loss == pytest.approx(plain.item(), rel=tolerance)
    assert set(found) == set(wanted) and len(wanted) > 5
    for name, gradient in wanted.items():
        assert (found[name] - gradient).abs().max() <= tolerance * (1 + gradient.abs().max()), name


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_architectures(architecture):
    dtype = torch.float32 if architecture == "gemma2" else torch.float64  # Gemma 2 attends in float32
    assert_same(make_latent(architecture, dtype=dtype))


@pytest.mark.parametrize("options", ROLLOUTS.values(), ids=ROLLOUTS)
def test_rollouts(options):
    assert_same(make_latent("llama", **options))


def test_dropout():
    """The recomputation draws the same dropout masks."""
    base = make_base("gpt2", resid_pdrop=0.3, embd_pdrop=0.3, attn_pdrop=0.3)
    model = LatentForCausalLM.from_base(base, latent_token_id=97, bot_token_id=98, eot_token_id=99)
    first, second = (gradients(model, False)[0] for _ in range(2))
    assert first == second
    model.train()
    torch.manual_seed(2)
    assert model(**batch())["latent"].token_loss.sum() != first
    assert_same(model)


def kept_bytes(model, checkpoint: bool, latents: int, prompt: int) -> int:
    """Return the bytes of the different storages a forward pass keeps for its backward pass, parameters apart."""
    torch.manual_seed(0)
    ids = torch.randint(1, 90, (2, prompt))
    view = torch.tensor([[98, *[97] * latents, 99, 5, 6]] * 2)
    labels = torch.where(view < 97, view, -100)
    views = {"latent": {"input_ids": view, "attention_mask": torch.ones_like(view), "labels": labels}}
    model.gradient_checkpointing_enable() if checkpoint else model.gradient_checkpointing_disable()
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, torch.UntypedStorage] = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        outputs = model.train()(input_ids=ids, attention_mask=torch.ones_like(ids), views=views)
    assert outputs["latent"].token_loss.requires_grad
    return sum(storage.nbytes() for storage in kept.values())


def test_little_is_kept():
    """With checkpoints a latent keeps a hidden state, a key and a value a layer, and no copy of the prompt's."""
    model = make_latent("llama")
    plain, checkpointed = (kept_bytes(model, checkpoint, 8, 64) for checkpoint in (False, True))
    assert checkpointed < plain / 3
    more = kept_bytes(model, True, 16, 64) - kept_bytes(model, True, 8, 64)
    again = kept_bytes(model, True, 16, 128) - kept_bytes(model, True, 8, 128)
    assert again < 1.5 * more  # what eight more latents keep does not grow with the prompt


@pytest.mark.parametrize(
    "method",
    [
        {"feedback": "hidden"},
        {"objective": "self_distillation"},
        {"objective": "kv_distillation", "objective_options": {"importance": 0.5}},
        {"step_decoder": "shared"},
    ],
    ids=["hidden", "self_distillation", "kv_distillation", "step_decoder"],
)
def test_trainer(tmp_path, method):
    """The trainer's flag gives the same losses and gradient norms, adapters included."""
    histories = []
    for checkpoint in (False, True):
        options = {"max_steps": 3, "steps_per_stage": 1, "peft_config": LoraConfig(r=4), "logging_steps": 1, **method}
        trainer = make_trainer(tmp_path / str(checkpoint), **{CHECKPOINTING: checkpoint}, **options)
        trainer.train()
        assert trainer.model.base_model.model.gradient_checkpointing == checkpoint
        histories.append([(entry["loss"], entry["grad_norm"]) for entry in trainer.state.log_history if "loss" in entry])
    assert len(histories[0]) == 3
    for plain, checkpointed in zip(*histories, strict=True):
        assert checkpointed == pytest.approx(plain, rel=1e-5)


def test_refused():
    model = make_latent()
    with pytest.raises(InputError, match="does not support use_reentrant=True"):
        model.gradient_checkpointing_enable({"use_reentrant": True})
    model.base.activation_checkpointing_enable()
    with pytest.raises(InputError, match="turn it off there"):
        model.train()(**batch())
    model.eval()(**batch())  # nothing is lost without gradients


@pytest.mark.parametrize("whose", ["own", "stock"])
def test_columns_after_a_cache(whose):
    """A thought goes on under checkpoints too; a cache of another kind is read without them."""
    model, ids = make_latent("llama"), torch.tensor([[5, 6, 98, 97, 97, 99, 8, 9]])
    found = []
    for checkpoint in (False, True):
        model.gradient_checkpointing_disable()
        cut = 4 if whose == "own" else 3
        cache = (model if whose == "own" else model.base)(ids[:, :cut], use_cache=True).past_key_values
        if checkpoint:
            model.gradient_checkpointing_enable()
        model.train().zero_grad()
        rest = ids[:, cut:] if whose == "own" else torch.tensor([[7, 98, 97, 99, 8]])
        logits = model(rest, past_key_values=cache).logits
        logits.pow(2).sum().backward()
        found.append({"logits": logits.detach(), **{name: value.grad for name, value in model.named_parameters()}})
    assert_close(found[1], found[0])
