"""What a call of a base model in another form than most may hold: honoured as by any other model, or refused."""

import pytest
import torch
from tiny_bases import base_model

from latent_trainer import LatentForCausalLM
from latent_trainer.errors import InputError

IDS = {"latent_token_id": 97, "bot_token_id": 98, "eot_token_id": 99}
FIRST, SECOND = [5, 6, 98, 97, 97, 99, 7], [8, 98, 97, 99]
CAUSAL = torch.ones(1, 1, 7, 7).bool().tril()


def wrapped(kind: str) -> LatentForCausalLM:
    return LatentForCausalLM.from_base(base_model(kind).double(), **IDS).eval()


def test_a_model_that_reads_ids():
    """It has nothing to read where embeddings alone are given; documents in one row are read as in rows of their own."""
    model = wrapped("gemma3n_text")
    assert model.form.reads_ids
    with pytest.raises(InputError, match=r"inputs_embeds: .* pass input_ids"):
        model(inputs_embeds=model.get_input_embeddings()(torch.tensor([[5, 6]])))
    positions = torch.tensor([[*range(len(FIRST)), *range(len(SECOND))]])
    packed = model(input_ids=torch.tensor([FIRST + SECOND]), position_ids=positions).logits
    alone = [model(input_ids=torch.tensor([row])).logits for row in (FIRST, SECOND)]
    torch.testing.assert_close(packed, torch.cat(alone, 1))


def test_a_model_with_states():
    """A mask over columns says nothing to it; packed documents still do not see each other."""
    model = wrapped("mamba")
    with pytest.raises(InputError, match=r"4-D attention_mask .* carry a state"):
        model(input_ids=torch.tensor([FIRST]), attention_mask=CAUSAL)
    positions = torch.tensor([[*range(len(FIRST)), *range(len(SECOND))]])
    packed = model(input_ids=torch.tensor([FIRST + SECOND]), position_ids=positions).logits
    alone = [model(input_ids=torch.tensor([row])).logits for row in (FIRST, SECOND)]
    torch.testing.assert_close(packed, torch.cat(alone, 1))
