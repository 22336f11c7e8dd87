"""Scores of whole rows: the stock pooling over the hidden states of a model that thinks."""

import torch
from conftest import make_base, make_latent
from reference import assert_close, latent_columns, naive_embeds
from transformers import AutoModelForSequenceClassification

from latent_trainer import LatentForCausalLM, LatentForSequenceClassification

ROWS = [[5, 6, 98, 97, 97, 99, 8], [9, 98, 97, 99]]
PAD = 96


def test_any_saved_model_gives_a_classifier(tmp_path):
    make_latent("gpt2").save_pretrained(tmp_path)
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path, num_labels=3).eval()
    assert isinstance(model, LatentForSequenceClassification) and model.score.weight.std() > 0
    model.config.get_text_config().pad_token_id = PAD
    ids = torch.tensor([row + [PAD] * (7 - len(row)) for row in ROWS])
    output = model(input_ids=ids, attention_mask=(ids != PAD).long(), labels=torch.tensor([2, 0]))
    for logits, row in zip(output.logits, ROWS, strict=True):
        embeds = naive_embeds(model.base, row, latent_columns(row))
        hidden = model.base.base_model(inputs_embeds=embeds, use_cache=False).last_hidden_state[0, -1]
        assert_close(logits, model.score(hidden))
    assert_close(output.loss, torch.nn.functional.cross_entropy(output.logits, torch.tensor([2, 0])))


def test_saved_and_loaded(tmp_path):
    make_latent("gpt2").save_pretrained(tmp_path)
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path, num_labels=1)
    model.save_pretrained(tmp_path / "again")
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path / "again")
    assert again.config.num_labels == 1
    ids = torch.tensor(ROWS[:1])
    assert_close(again(ids).logits, model(ids).logits)


def test_an_output_head_of_its_own_waits_for_no_gradient():
    base = make_base("llama", tie_word_embeddings=False)
    latent = LatentForCausalLM.from_base(base, latent_token_id=97, bot_token_id=98, eot_token_id=99, feedback="soft")
    latent.config.num_labels = 1
    model = LatentForSequenceClassification(latent.config, latent.base)
    model(torch.tensor(ROWS[:1])).logits.sum().backward()
    without = [name for name, weight in model.named_parameters() if weight.requires_grad and weight.grad is None]
    assert without == [] and not model.get_output_embeddings().weight.requires_grad
