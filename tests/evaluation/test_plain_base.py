"""A plain base model is asked as it is: in the form of its chat template, without latents, or with a feedback on request."""

import pytest
from conftest import make_base, sharpen
from training import make_tokenizer

from latent_trainer.cli.build import load_any
from latent_trainer.data import encode_prompts
from latent_trainer.data.template import chat_form
from latent_trainer.errors import InputError

CHAT = "{% for message in messages %}{0 {{ message['content'] }} }{% endfor %}{% if add_generation_prompt %} = {% endif %}"


@pytest.fixture
def folder(tmp_path):
    tokenizer = make_tokenizer()
    tokenizer.chat_template = CHAT
    sharpen(make_base("llama", vocab_size=len(tokenizer))).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    return tmp_path


def test_the_form_of_a_chat_template(folder):
    model, tokenizer = load_any(str(folder), None, None)
    batch = encode_prompts(["1 2"], tokenizer, 0, model.config.template)
    chat = [{"role": "user", "content": "1 2"}]
    rendered = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    assert rendered == "{0 1 2 } = "
    assert batch["input_ids"][0].tolist() == tokenizer(rendered, add_special_tokens=False).input_ids
    assert model.config.num_latents == 0


def test_templates_by_name(folder):
    assert load_any(str(folder), "plain", None)[0].config.template["question"] == "{question} "
    assert load_any(str(folder), None, "soft")[0].config.template["markers"]  # a thought needs its tokens
    with pytest.raises(InputError, match="its tokenizer has none"):
        chat_form(make_tokenizer())


def test_latents_of_a_model_that_does_not_think(folder):
    with pytest.raises(InputError, match=r"is a plain base model; train it, or let it think untrained with feedback=soft"):
        load_any(str(folder), None, None, thinks=True)
    load_any(str(folder), None, "soft", thinks=True)
