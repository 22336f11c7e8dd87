"""The contract of rollouts."""

import torch

from latent_trainer.data import encode_prompts
from latent_trainer.model.configuration import LatentConfig
from latent_trainer.testing.steps import ROWS, tiny_steps
from latent_trainer.testing.tiny import TOLERANCE, contract, make_tokenizer, require, tiny_model

QUESTIONS = ("1 2 3 4", "5", "6 7")


def check_rollout(rollout: str | type, options: dict | None = None, **settings) -> None:
    """Require that a rollout keeps its contract: a row alone and among others, in training and generation the same.

    Args:
        rollout: a name, ``package.module:Class`` or the class.
        options: its options.
        settings: training arguments of the model it is tried in; by default a staged curriculum.

    Raises:
        AssertionError: with a sentence that says what is wrong.
    """
    with contract("rollout", rollout) as name:
        what, options = f"rollout '{name}'", options or {}
        tokenizer = make_tokenizer()
        model = tiny_model(tokenizer, rollout=name, rollout_options=options).eval()
        _check_rows(what, model, tokenizer)
        _check_generation(what, model, tokenizer)
        again = LatentConfig(**{key: value for key, value in model.config.to_dict().items() if key != "model_type"})
        require(
            again.rollout_options == model.config.rollout_options,
            f"{what}: its options are others after they were saved and loaded",
        )
        settings = {"feedback": "projection", **settings}
        with tiny_steps(what, rollout=name, rollout_options=options or None, **settings) as steps:
            steps.check()
            _, gradients = steps.measured([steps.batch([*range(ROWS)], steps.stages[-1])])
            own = [float(tensor.abs().sum()) for key, tensor in gradients.items() if "feedback." in key]
            trains = settings["feedback"] != "projection" or (own and all(own))
            require(bool(trains), f"{what}: no gradient reaches what makes the latents; do not detach them")


@torch.no_grad()
def _check_rows(what: str, model, tokenizer) -> None:
    for number in (1, 3):
        whole = model(**encode_prompts(list(QUESTIONS), tokenizer, number, "plain")).logits[:, -1]  # (B, V)
        for row, question in enumerate(QUESTIONS):
            alone = model(**encode_prompts([question], tokenizer, number, "plain")).logits[0, -1]
            require(
                bool(((alone - whole[row]).abs() <= TOLERANCE * whole.abs().max()).all()),
                f"{what} gives a prompt of {number} latents other logits alone than among longer ones; leave out columns "
                "whose attention_mask is 0",
            )
        fast, model.fast = model.fast, False
        plain = model(**encode_prompts(list(QUESTIONS), tokenizer, number, "plain")).logits[:, -1]
        model.fast = fast
        require(
            bool(((plain - whole).abs() <= TOLERANCE * whole.abs().max()).all()),
            f"{what} gives other logits with model.fast=False; let self.passes(columns, reading) read the columns",
        )


@torch.no_grad()
def _check_generation(what: str, model, tokenizer) -> None:
    batch = encode_prompts(list(QUESTIONS), tokenizer, 2, "plain")
    settings = {"max_new_tokens": 4, "min_new_tokens": 4, "do_sample": False}
    cached = model.generate(**batch, **settings)
    whole = model.generate(**batch, **settings, use_cache=False)
    require(
        torch.equal(cached, whole),
        f"{what} writes another text with a cache than without one; return the cache of all columns that were read",
    )
