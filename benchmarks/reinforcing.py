"""Seconds of reinforcement learning on latents against stock TRL on the model below, side by side in one run.

Run: python benchmarks/reinforcing.py [--shape gpt2] [--batch 8] [--rounds 5]

Rollouts: answers drawn after prompts with six latents, by every policy, against plain ``generate()`` over as many positions.
Steps: generation, rewards, log-probabilities and back-propagation of one step of `LatentGRPOTrainer`, without the
optimizer's, against the same of TRL's `GRPOTrainer` on the base model, with as many positions. Every answer has the same
number of tokens. The model of hidden feedback and that of soft feedback have the same weights.
"""

import random
import tempfile

import torch
from common import SHAPES, argument_parser, compare, make_model, record_name, report
from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer

from latent_trainer.data.thought_tokens import add_thought_tokens
from latent_trainer.data.tokenizer import train_tokenizer
from latent_trainer.rl import LatentGRPOConfig, LatentGRPOTrainer

LATENTS, NEW_TOKENS, QUESTION = 6, 16, 48
POLICIES = {"deterministic": "hidden", "gaussian": "hidden", "dropout": "hidden", "multiplex": "soft", "gumbel": "soft"}
PLAIN = "plain, {}"


def make_trainers(shape: str, batch: int, folder: str) -> dict:
    """Return a stock trainer on the base model, and one of ours for every policy."""
    rng = random.Random(0)
    words = ["".join(rng.choices("abcdefghij", k=4)) for _ in range(500)]
    tokenizer = train_tokenizer(words, min(2_000, SHAPES[shape]["vocab_size"] - 3))
    ids = add_thought_tokens(tokenizer, "<|bot|>", "<|eot|>")
    tokenizer.pad_token = tokenizer.eos_token
    tokens = [tokenizer(word).input_ids[0] for word in words]
    texts = [tokenizer.decode(rng.choices(tokens, k=QUESTION)) for _ in range(batch // 2)]
    thought = "<|bot|>" + "<|latent|>" * LATENTS + "<|eot|>"
    prompts = Dataset.from_list([{"prompt": text + thought} for text in texts])
    common = {"per_device_train_batch_size": batch, "num_generations": 2, "max_completion_length": NEW_TOKENS}
    common |= {"generation_kwargs": {"min_new_tokens": NEW_TOKENS}, "report_to": "none", "bf16": False, "use_cpu": True}
    common |= {"gradient_checkpointing": False, "disable_tqdm": True}
    made = {}
    for name, feedback in {"plain": "hidden", **POLICIES}.items():
        model = make_model(shape, ids=ids)
        model.configure(feedback)
        more = {"train_dataset": prompts, "processing_class": tokenizer, "reward_funcs": different}
        if name == "plain":
            made[name] = GRPOTrainer(model.base, args=GRPOConfig(folder, **common), **more)
        else:
            args = LatentGRPOConfig(folder, policy=name, allow_truncated=True, **common)
            made[name] = LatentGRPOTrainer(model, args=args, **more)
        made[name].current_gradient_accumulation_steps = 1
        made[name].rows = [row for row in prompts for _ in range(2)]
    return made


def different(completion_ids, **_) -> list[float]:
    """Reward different tokens."""
    return [float(len(set(ids))) for ids in completion_ids]


def rollout(trainer) -> None:
    """Generate a batch's answers."""
    trainer.model.eval()
    prompts, *others = trainer._tokenize_prompts([row["prompt"] for row in trainer.rows])
    with torch.no_grad():
        trainer._generate_single_turn(prompts, *others, trainer.num_generations)


def step(trainer) -> None:
    """Make a step, without that of the optimizer."""
    trainer.model.train()
    batch = trainer._generate_and_score_completions(trainer.rows)
    trainer._compute_loss(trainer.model, batch).backward()
    trainer.model.zero_grad()


def main() -> None:
    """Measure and write results/benchmarks/reinforcing-SHAPE.json."""
    args = argument_parser(__doc__).parse_args()
    with tempfile.TemporaryDirectory() as folder:
        trainers = make_trainers(args.shape, args.batch, folder)
        rows = {}
        for what, run in (("rollout", rollout), ("step", step)):
            runs = {f"{name}, {what}": lambda one=one, run=run: run(one) for name, one in trainers.items()}
            rows |= compare(runs, PLAIN.format(what), args.rounds)
    config = {"latents": LATENTS, "new_tokens": NEW_TOKENS, "question": QUESTION}
    report(record_name("reinforcing", args), rows, config, args)


if __name__ == "__main__":
    main()
