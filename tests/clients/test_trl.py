"""TRL as it is installed, on latent models: what it trains on are the log-probabilities of our forward."""

from copy import deepcopy
from types import SimpleNamespace

import pytest
import torch
from conftest import make_base, sharpen
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from latent_trainer import LatentForCausalLM, load_problems
from latent_trainer.data.tokenizer import train_tokenizer
from latent_trainer.errors import InputError

trl = pytest.importorskip("trl")

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning", "ignore::DeprecationWarning")
THOUGHT = " <|bot|><|latent|><|latent|><|eot|>"
FLOAT32 = 1e-5


@pytest.fixture(scope="module", params=["gpt2", "qwen2"])
def saved(request, tmp_path_factory):
    """A saved latent model in float32, its tokenizer, and prompts with placeholders and their answers."""
    rows = load_problems("arithmetic", "train", size=12, operations=2)
    tokenizer = train_tokenizer([" ".join([row["question"], *row["steps"], "=", row["answer"], "###"]) for row in rows])
    tokenizer.pad_token = tokenizer.eos_token
    base = make_base(request.param, vocab_size=len(tokenizer), dtype=torch.float32)
    model = sharpen(LatentForCausalLM.from_base(base, tokenizer=tokenizer))
    folder = tmp_path_factory.mktemp(request.param)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    texts = [(row["question"] + THOUGHT, f" ### {row['answer']}") for row in rows]
    return SimpleNamespace(folder=str(folder), tokenizer=tokenizer, texts=texts, kind=request.param)


def settings(config, folder, **more):
    """Return two quiet steps of two rows on a CPU."""
    quiet = {"report_to": [], "use_cpu": True, "bf16": False, "disable_tqdm": True, "save_strategy": "no", "seed": 0}
    steps = {"max_steps": 2, "per_device_train_batch_size": 2, "logging_steps": 1, "gradient_checkpointing": False}
    return config(str(folder), **{**quiet, **steps, "learning_rate": 1e-3, **more})


def logged(trainer) -> list[float]:
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert len(losses) == 2 and all(torch.tensor(losses).isfinite())
    return losses


@torch.no_grad()
def log_probs(model, tokenizer, prompt: str, completion: str) -> torch.Tensor:
    """Return the log-probabilities (n,) of a completion as our own forward gives them, in a row of its own."""
    start, end = (tokenizer(text, add_special_tokens=False).input_ids for text in (prompt, completion))
    logits = model(torch.tensor([start + end]), use_cache=False).logits[0, len(start) - 1 : -1]
    return logits.float().log_softmax(-1).gather(1, torch.tensor(end)[:, None])[:, 0]


def sft(saved, folder, peft_config=None, **more):
    texts = [{"prompt": prompt, "completion": completion} for prompt, completion in saved.texts]
    args = settings(trl.SFTConfig, folder, train_sampling_strategy="sequential", **more)
    return trl.SFTTrainer(
        saved.folder,
        args,
        train_dataset=Dataset.from_list(texts),
        processing_class=saved.tokenizer,
        peft_config=deepcopy(peft_config),
    )


def own_loss(saved, rows: int = 2) -> float:
    """Return the mean over the completions' tokens of the first rows, with the end of text SFT adds to each."""
    model = LatentForCausalLM.from_pretrained(saved.folder).eval()
    end = saved.tokenizer.eos_token
    return (
        -torch.cat([log_probs(model, saved.tokenizer, one, other + end) for one, other in saved.texts[:rows]]).mean().item()
    )


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"gradient_checkpointing": True},
        {"loss_type": "nll"},
        {"padding_free": True, "max_length": None},
        {"peft_config": LoraConfig(r=4, target_modules="all-linear")},
    ],
    ids=["plain", "checkpoints", "nll", "padding free", "lora"],
)
def test_sft(saved, tmp_path, more):
    assert logged(sft(saved, tmp_path, **more))[0] == pytest.approx(own_loss(saved), abs=1e-4)


def test_sft_with_packed_rows(saved, tmp_path):
    """However the documents are packed, over all of them the loss is that of each alone."""
    more = {"packing": True, "packing_strategy": "bfd", "max_length": 40, "per_device_train_batch_size": 12, "max_steps": 1}
    trainer = sft(saved, tmp_path, **more)
    assert len(trainer.train_dataset) < len(saved.texts)
    trainer.train()
    assert trainer.state.log_history[0]["loss"] == pytest.approx(own_loss(saved, len(saved.texts)), abs=1e-4)


def test_noisy_embeddings(saved, tmp_path):
    """NEFTune's noise reaches the tokens, and only in training."""
    trainer = sft(saved, tmp_path, neftune_noise_alpha=5.0)
    assert abs(logged(trainer)[0] - own_loss(saved)) > 1e-3
    row = torch.tensor([saved.tokenizer(saved.texts[0][0]).input_ids])
    assert torch.equal(trainer.model.eval()(row).logits, trainer.model(row).logits)


def test_dpo(saved, tmp_path):
    texts = [{"prompt": prompt, "chosen": good, "rejected": " ### 7 7"} for prompt, good in saved.texts]
    args = settings(trl.DPOConfig, tmp_path, train_sampling_strategy="sequential")
    trainer = trl.DPOTrainer(
        saved.folder, args=args, train_dataset=Dataset.from_list(texts), processing_class=saved.tokenizer
    )
    assert type(trainer.model) is type(trainer.ref_model) is LatentForCausalLM
    assert logged(trainer)[0] == pytest.approx(torch.tensor(2.0).log().item(), abs=1e-5)
    model = LatentForCausalLM.from_pretrained(saved.folder).eval()
    end = saved.tokenizer.eos_token
    for name in ("chosen", "rejected"):
        sums = [log_probs(model, saved.tokenizer, text["prompt"], text[name] + end).sum() for text in texts[:2]]
        assert trainer.state.log_history[0][f"logps/{name}"] == pytest.approx(torch.stack(sums).mean().item(), rel=1e-4)


def test_grpo(saved, tmp_path):
    seen = []

    def reward(prompts, completions, completion_ids, **_):
        seen.append((prompts, completion_ids))
        return [float(len(set(ids))) for ids in completion_ids]

    args = settings(trl.GRPOConfig, tmp_path, num_generations=2, max_completion_length=6, beta=0.1, max_steps=1)
    prompts = Dataset.from_list([{"prompt": prompt} for prompt, _ in saved.texts])
    trainer = trl.GRPOTrainer(saved.folder, reward, args, train_dataset=prompts, processing_class=saved.tokenizer)
    given = []
    scores = trainer._get_per_token_logps_and_entropies  # the log-probabilities its loss is made of

    def listen(model, input_ids, attention_mask, logits_to_keep, *args, **kwargs):
        result = scores(model, input_ids, attention_mask, logits_to_keep, *args, **kwargs)
        given.append((input_ids, attention_mask, logits_to_keep, next(iter(result)).detach()))
        return result

    trainer._get_per_token_logps_and_entropies = listen
    before = LatentForCausalLM.from_pretrained(saved.folder).eval()
    trainer.train()
    assert seen and given
    for ids, mask, width, found in given:
        for row, real, values in zip(ids, mask.bool(), found, strict=True):
            written = real[-width:]
            with torch.no_grad():
                logits = before(row[real][None], use_cache=False).logits[0].log_softmax(-1)
            expected = logits[:-1].gather(1, row[real][1:, None])[:, 0][-int(written.sum()) :]
            torch.testing.assert_close(values[written], expected, rtol=0, atol=FLOAT32)


def test_distillation(saved, tmp_path):
    """A teacher with the student's own weights has nothing to teach: both think, and both give the same hidden states."""
    args = settings(trl.DistillationConfig, tmp_path, max_completion_length=5)
    prompts = Dataset.from_list([{"prompt": prompt} for prompt, _ in saved.texts])
    trainer = trl.DistillationTrainer(
        saved.folder, saved.folder, args, train_dataset=prompts, processing_class=saved.tokenizer
    )
    hidden = []
    trainer.teacher_model.base_model.register_forward_hook(lambda _, __, output: hidden.append(output.last_hidden_state))
    assert logged(trainer) == pytest.approx([0, 0], abs=1e-6) and len(hidden) == 2


def test_rewards(saved, tmp_path):
    texts = [{"chosen": prompt + good, "rejected": f"{prompt} ### 7 7"} for prompt, good in saved.texts]
    args = settings(trl.RewardConfig, tmp_path)
    trainer = trl.RewardTrainer(saved.folder, args, train_dataset=Dataset.from_list(texts), processing_class=saved.tokenizer)
    logged(trainer)
    trainer.save_model(tmp_path)
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    ids = torch.tensor([saved.tokenizer(texts[0]["chosen"]).input_ids])
    with torch.no_grad():
        hidden = again.backbone(ids).last_hidden_state[0, -1]
        assert not torch.allclose(hidden, again.base.base_model(ids).last_hidden_state[0, -1])  # it has thought
        torch.testing.assert_close(again(ids).logits[0], again.score(hidden))
        torch.testing.assert_close(again(ids).logits, trainer.model.eval()(ids).logits)


def test_what_training_saves_is_a_latent_model(saved, tmp_path):
    trainer = sft(saved, tmp_path)
    trainer.train()
    trainer.save_model(tmp_path)
    model = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert type(model) is LatentForCausalLM
    assert model.state_dict().keys() == LatentForCausalLM.from_pretrained(saved.folder).state_dict().keys()
    for name, weight in trainer.model.state_dict().items():
        assert torch.equal(weight, model.state_dict()[name])


def test_what_has_no_place_for_a_thought(saved, tmp_path):
    args = settings(
        trl.GRPOConfig, tmp_path, num_generations=2, max_completion_length=2, use_transformers_continuous_batching=True
    )
    prompts = Dataset.from_list([{"prompt": prompt} for prompt, _ in saved.texts])
    trainer = trl.GRPOTrainer(saved.folder, lambda prompts, **_: [0.0] * len(prompts), args, train_dataset=prompts)
    with pytest.raises(InputError, match="continuous batching"):
        trainer.train()
    with pytest.raises(ImportError, match="liger"):  # the extra that brings it is not installed with the tests
        sft(saved, tmp_path, use_liger_kernel=True).train()


def test_ligers_kernels_are_not_those_of_the_wrapper(saved, tmp_path):
    """TRL hands the whole model to Liger, which knows no kernels for it: the flag changes no number."""
    pytest.importorskip("liger_kernel", reason="the extra kernels is not installed")
    assert logged(sft(saved, tmp_path, use_liger_kernel=True))[0] == pytest.approx(own_loss(saved), abs=1e-4)
