"""A saved tiny latent model that writes numbers, problems for it, and quiet trainers on both."""

from copy import deepcopy
from types import SimpleNamespace

import torch
from conftest import make_base, sharpen
from datasets import Dataset

from latent_trainer import LatentForCausalLM, load_problems
from latent_trainer.data.tokenizer import train_tokenizer
from latent_trainer.rl import LatentGRPOConfig, LatentGRPOTrainer
from latent_trainer.rollout.thoughts import ReplayedThoughts, using

LATENTS = 2
THOUGHT = " <|bot|>" + "<|latent|>" * LATENTS + "<|eot|>"


def save_model(folder, feedback: str = "soft", kind: str = "gpt2", dtype=torch.float32) -> SimpleNamespace:
    """Save a model with its tokenizer; return where it lies, the tokenizer, problems and prompts with placeholders."""
    problems = load_problems("arithmetic", "train", size=16, operations=2)
    texts = [" ".join([row["question"], *row["steps"], "=", row["answer"], "###"]) for row in problems]
    tokenizer = train_tokenizer(texts)
    tokenizer.pad_token = tokenizer.eos_token
    base = make_base(kind, vocab_size=len(tokenizer), dtype=dtype)
    model = sharpen(LatentForCausalLM.from_base(base, tokenizer=tokenizer, feedback=feedback))
    model.config.num_latents, model.config.template = LATENTS, None
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    prompts = Dataset.from_list([{"prompt": row["question"] + THOUGHT, "answer": row["answer"]} for row in problems])
    return SimpleNamespace(folder=str(folder), tokenizer=tokenizer, problems=problems, prompts=prompts)


def different(completion_ids, **_):
    """Reward different tokens."""
    return [float(len(set(ids))) for ids in completion_ids]


def settings(folder, config=LatentGRPOConfig, **more):
    """Return two quiet steps of two prompts with two answers each, on a CPU."""
    quiet = {"report_to": [], "use_cpu": True, "bf16": False, "disable_tqdm": True, "save_strategy": "no", "seed": 0}
    steps = {"max_steps": 2, "per_device_train_batch_size": 4, "logging_steps": 1, "gradient_checkpointing": False}
    answers = {"num_generations": 2, "max_completion_length": 5, "learning_rate": 1e-3}
    return config(str(folder), **{**quiet, **steps, **answers, **more})


def make(saved, folder, kind=LatentGRPOTrainer, reward=different, dataset=None, peft_config=None, **more):
    """Return a trainer."""
    config = LatentGRPOConfig if kind is LatentGRPOTrainer else more.pop("config")
    return kind(
        model=saved.folder,
        reward_funcs=reward,
        args=settings(folder, config, **more),
        train_dataset=saved.prompts if dataset is None else dataset,
        processing_class=saved.tokenizer,
        peft_config=deepcopy(peft_config),
    )


def alone(trainer, saved, batch) -> list[torch.Tensor]:
    """Return for every row the log-probabilities of its latents and of what was written, computed in a row of its own."""
    return [
        torch.cat([latents, own.gather(1, ids[:, None])[:, 0].to(latents.dtype)])
        for latents, own, ids in _each(trainer, batch)
    ]


def entropy_alone(trainer, batch) -> torch.Tensor:
    """Return the mean entropy, in nats, of the tokens written in all rows, each computed in a row of its own."""
    own = torch.cat([likely for _, likely, _ in _each(trainer, batch)])  # (N, V)
    return -(own.exp() * own).sum(-1).mean()


def _each(trainer, batch):
    """Yield for every row log-probabilities of its latents (K,), those before every token written (n, V), and these (n,)."""
    for row in range(len(batch["prompt_ids"])):
        prompt = batch["prompt_ids"][row][batch["prompt_mask"][row].bool()]
        ids = batch["completion_ids"][row][batch["completion_mask"][row].bool()]
        own = batch["record_counted"][row : row + 1]
        record = {name.removeprefix("record_"): value[row : row + 1] for name, value in batch.items() if "record_" in name}
        [record.pop(name) for name in ("counted", "given")]
        with using(trainer.model, ReplayedThoughts(trainer.policy, record, own)) as thoughts:
            logits = trainer.model(torch.cat([prompt, ids])[None], use_cache=False).logits[0]
        start = len(prompt) + LATENTS + 1  # behind the thought
        yield thoughts.log_probs[0], logits[start - 1 : -1].log_softmax(-1), ids[LATENTS + 1 :]
