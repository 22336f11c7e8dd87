"""A plain base model is asked as it is: in the form of its chat template, without latents, or with a feedback on request."""

import pytest
from conftest import make_base, sharpen
from tokenizers.processors import TemplateProcessing
from training import make_tokenizer

from latent_trainer.cli.build import load_any, model_id
from latent_trainer.data import Encoder, encode_prompts
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
    with pytest.raises(
        InputError, match=r"is a plain base model; train it, or let it think without training with feedback=soft"
    ):
        load_any(str(folder), None, None, thinks=True)
    load_any(str(folder), None, "soft", thinks=True)


@pytest.mark.parametrize(
    "template, said",
    [
        ("{% for m in messages %}{{ m['content'] }} or {{ m['content'] }}{% endfor %}", "does not write a question once"),
        ("{% for m in messages %}{{ m['content'] | upper }}{% endfor %}", "does not write a question once and as it is"),
        ("{{ raise_exception('needs a system message') }}", "refuses a question alone: needs a system message"),
        ("{{ messages[0].tools.first }}", "refuses a question alone"),
        ("{% for m in messages %}{{ m['content'] }", "refuses a question alone"),
    ],
)
def test_a_chat_template_that_is_no_form(template, said):
    tokenizer = make_tokenizer()
    tokenizer.chat_template = template
    with pytest.raises(InputError, match=rf"chat template {said}.*name another template"):
        chat_form(tokenizer)


def test_chat_templates_of_parts_and_with_a_text_like_ours():
    tokenizer = make_tokenizer()
    tokenizer.chat_template = "{% for m in messages %}{% for p in m['content'] %}<{{ p['text'] }}>{% endfor %}{% endfor %}"
    assert chat_form(tokenizer).question == "<{question}>"
    tokenizer.chat_template = "{{ '{question}' }}{% for m in messages %}{{ m['content'] }}{% endfor %}"
    assert chat_form(tokenizer).question == "{{question}}{question}"


def test_one_token_at_the_beginning(folder):
    """Where both the chat template and the tokenizer would write it, as with Llama 3."""
    _, tokenizer = load_any(str(folder), None, None)
    start = tokenizer.bos_token = tokenizer.eos_token
    tokenizer._tokenizer.post_processor = TemplateProcessing(
        single=f"{start} $A", special_tokens=[(start, tokenizer.bos_token_id)]
    )
    tokenizer.chat_template = "{{ bos_token }}" + CHAT
    chat = [{"role": "user", "content": "1 2"}]
    ids = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=True)["input_ids"]
    assert ids[0] == tokenizer("").input_ids[0] == tokenizer.bos_token_id != ids[1]
    assert Encoder(tokenizer, chat_form(tokenizer)).prompt("1 2", 0) == ids


def test_what_is_noted_beside_a_model_makes_no_other_model(folder):
    before = model_id(str(folder))
    (folder / "record.json").write_text("{}")
    assert model_id(str(folder)) == before
    (folder / "config.json").write_text((folder / "config.json").read_text() + " ")
    assert model_id(str(folder)) != before


def test_a_folder_that_holds_no_model_in_one_line(folder):
    (folder / "config.json").write_text('{"accuracy": 0}')
    with pytest.raises(InputError, match=r"cannot load '.*': Unrecognized model"):
        load_any(str(folder), None, None)
