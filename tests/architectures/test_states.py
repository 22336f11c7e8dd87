"""Branches of a cache that holds states: each goes on from the state where it branched, whatever the others read."""

import pytest
import torch
from tiny_bases import base_model

from latent_trainer import LatentForCausalLM
from latent_trainer.compat import CACHE
from latent_trainer.rollout.cache import branch

PROMPT, ENDS = [5, 6, 7], ([98, 97, 97, 99, 7], [98, 97, 99, 8], [4, 98, 99, 2])


@pytest.mark.parametrize("learns", [False, True], ids=["without gradient", "with gradient"])
def test_branches_do_not_meet(learns):
    model = LatentForCausalLM.from_base(base_model("mamba").double(), latent_token_id=97, bot_token_id=98, eot_token_id=99)
    model.eval()
    with torch.set_grad_enabled(learns):
        cache = getattr(model(input_ids=torch.tensor([PROMPT]), use_cache=True), CACHE)
        branches = [branch(cache), branch(cache), cache]
        for own, end in zip(branches, ENDS, strict=True):
            found = model(input_ids=torch.tensor([end]), past_key_values=own).logits
            whole = model(input_ids=torch.tensor([PROMPT + end])).logits[:, len(PROMPT) :]
            torch.testing.assert_close(found, whole)
