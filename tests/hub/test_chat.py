"""The chat template writes the prompt of training, token by token."""

import pytest
from jinja2 import TemplateError
from tokenizers.processors import TemplateProcessing
from training import make_tokenizer
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from latent_trainer.data import TEMPLATES, Encoder, Template, encode_prompts
from latent_trainer.data.thought_tokens import add_thought_tokens
from latent_trainer.data.tokenizer import train_tokenizer
from latent_trainer.errors import InputError
from latent_trainer.hub.chat import set_chat_template

HOSTILE = Template(question='{question}{{{{ 1 }}}} "quoted" {{% if x %}}\\n é\U0001f600\n', answer_prefix="'''\n{{{{")
KINDS = {
    **TEMPLATES,
    "inside": Template(remaining_steps="inside"),
    "given": Template(score_answer_prefix=False),
    "both": Template(remaining_steps="inside", score_answer_prefix=False),
    "bare": Template(markers=False),
    "hostile": HOSTILE,
}


def byte_tokenizer(template: Template) -> PreTrainedTokenizerFast:
    """Return a byte-level tokenizer with a template's thought tokens."""
    tokenizer = train_tokenizer(["1 + 2 = 3"], 300)
    add_thought_tokens(tokenizer, template.bot, template.eot)
    return tokenizer


def ids(tokenizer, messages: list[dict], **options) -> list[int]:
    """Return the token ids of a chat."""
    return tokenizer.apply_chat_template(messages, return_dict=True, **options)["input_ids"]


@pytest.mark.parametrize("num_latents", [0, 3])
@pytest.mark.parametrize("name", KINDS)
def test_the_prompt_of_training(name, num_latents):
    template = KINDS[name]
    tokenizer = byte_tokenizer(template)
    set_chat_template(tokenizer, template.to_dict(), num_latents)
    questions = ["1 + 2", "How {{ many }}?\n\n  <b>'\"\\n", "é"]
    for question in questions:
        chat = [{"role": "user", "content": question}]
        assert ids(tokenizer, chat, add_generation_prompt=True) == Encoder(tokenizer, template).prompt(question, num_latents)
    chats = [[{"role": "user", "content": question}] for question in questions]
    batch = tokenizer.apply_chat_template(
        chats, add_generation_prompt=True, padding=True, return_tensors="pt", return_dict=True
    )
    expected = encode_prompts(questions, tokenizer, num_latents, template)
    assert batch["input_ids"].tolist() == expected["input_ids"].tolist()
    assert batch["attention_mask"].tolist() == expected["attention_mask"].tolist()


def test_words(tmp_path):
    tokenizer = make_tokenizer()
    add_thought_tokens(tokenizer, "<|bot|>", "<|eot|>")
    set_chat_template(tokenizer, TEMPLATES["plain"].to_dict(), 2)
    text = tokenizer.apply_chat_template([{"role": "user", "content": "1 + 2"}], tokenize=False, add_generation_prompt=True)
    assert text == "1 + 2 <|bot|><|latent|><|latent|><|eot|>"
    tokenizer.save_pretrained(tmp_path)
    for one in (tokenizer, AutoTokenizer.from_pretrained(tmp_path)):
        assert one.padding_side == "left" and one.pad_token == one.eos_token


def test_a_begin_of_text_token():
    """It starts the chat once, as it starts a prompt; a tokenizer that does not write its own gets none."""
    for writes in (True, False):
        tokenizer = byte_tokenizer(TEMPLATES["coconut"])
        tokenizer.add_special_tokens({"bos_token": "<s>"})
        if writes:
            processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", tokenizer.bos_token_id)])
            tokenizer.backend_tokenizer.post_processor = processor
        set_chat_template(tokenizer, TEMPLATES["coconut"].to_dict(), 1)
        chat = [{"role": "user", "content": "1 + 2"}, {"role": "assistant", "content": "3"}]
        assert tokenizer.apply_chat_template(chat, tokenize=False).count("<s>") == writes


def test_an_answer_in_the_chat_has_its_thought():
    tokenizer = byte_tokenizer(TEMPLATES["coconut"])
    set_chat_template(tokenizer, TEMPLATES["coconut"].to_dict(), 1)
    chat = [{"role": "user", "content": "1 + 2"}, {"role": "assistant", "content": "### 3"}]
    assert tokenizer.apply_chat_template(chat, tokenize=False) == "1 + 2\n<|bot|><|latent|><|eot|>### 3<|endoftext|>"


def test_other_roles_are_refused():
    tokenizer = byte_tokenizer(TEMPLATES["coconut"])
    set_chat_template(tokenizer, TEMPLATES["coconut"].to_dict(), 1)
    with pytest.raises(Exception, match="user and assistant messages only"):
        tokenizer.apply_chat_template([{"role": "system", "content": "Be brief."}], tokenize=False)


def test_a_template_whose_parts_the_tokenizer_joins():
    """Without any token between them, question and prefix become one word in a chat, but were two in training."""
    template = Template(question="{question}", answer_prefix="5", score_answer_prefix=False, markers=False)
    tokenizer = train_tokenizer(["-55 -5 7 +3 x7"])
    add_thought_tokens(tokenizer, template.bot, template.eot)
    with pytest.raises(InputError, match="splits the prompt of '7 \\+3 x7 -5'"):
        set_chat_template(tokenizer, template.to_dict(), 0)


# ---- messages as other programs write them ----


@pytest.fixture(scope="module")
def chat():
    """Return a function that gives the text of a chat with a model of two latents."""
    tokenizer = byte_tokenizer(TEMPLATES["coconut"])
    set_chat_template(tokenizer, TEMPLATES["coconut"].to_dict(), 2)

    def text(messages: list[dict], **options) -> str:
        return tokenizer.apply_chat_template(messages, tokenize=False, **options)

    return text


def user(content) -> dict:
    """Return a user's message."""
    return {"role": "user", "content": content}


def assistant(content, **more) -> dict:
    """Return an assistant's message."""
    return {"role": "assistant", "content": content, **more}


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("content", ["1 + 2", "  1 + 2 \n", "", "[1, 'a'] {{ x }} {% if y %} \"é\" <b>", "<think>", "\\"])
def test_text_parts_are_joined(name, content):
    """However a text is cut into parts, the prompt is the one of training; text that only looks like code stays text."""
    template = KINDS[name]
    if content in (template.bot, template.eot):
        return
    tokenizer = byte_tokenizer(template)
    set_chat_template(tokenizer, template.to_dict(), 2)
    expected = Encoder(tokenizer, template).prompt(content, 2)
    for cut in ([content], [content[:2], content[2:]], [*content] or [""]):
        parts = [{"type": "text", "text": part} for part in cut]
        assert ids(tokenizer, [user(parts)], add_generation_prompt=True) == expected


def test_history(chat):
    thought = "<|bot|><|latent|><|latent|><|eot|>"
    parts = [{"type": "text", "text": "### "}, {"type": "text", "text": "3"}]
    messages = [user("1 + 2"), assistant(parts), user([{"type": "text", "text": "3 + 4"}])]
    expected = f"1 + 2\n{thought}### 3<|endoftext|>3 + 4\n{thought}"
    assert chat(messages, add_generation_prompt=True) == expected
    assert chat([user("1 + 2"), assistant("### 3")]) == f"1 + 2\n{thought}### 3<|endoftext|>"


@pytest.mark.parametrize("content", ["### ", "###", " ### 1"])
def test_an_answer_that_is_continued(chat, content):
    for message in (assistant(content), assistant([{"type": "text", "text": content}])):
        text = chat([user("1 + 2"), message], continue_final_message=True)
        assert text == f"1 + 2\n<|bot|><|latent|><|latent|><|eot|>{content}"


REFUSED = {
    "image": ([user([{"type": "image_url", "image_url": {"url": "x"}}])], "text parts only, not image_url"),
    "text and audio": ([user([{"type": "text", "text": "a"}, {"type": "input_audio"}])], "text parts only, not input_audio"),
    "text part without text": ([user([{"type": "text"}])], "text parts only"),
    "bare words": ([user(["a", "b"])], "text parts only, not a"),
    "no content": ([user(None)], "must be a text or a list of text parts"),
    "number": ([user(3)], "must be a text or a list of text parts"),
    "mapping": ([user({"type": "text", "text": "a"})], "must be a text or a list of text parts"),
    "assistant without content": ([user("a"), assistant(None)], "must be a text or a list of text parts"),
    "tool call": ([user("a"), assistant("", tool_calls=[{"type": "function"}])], "calls no tools"),
    "tool": ([user("a"), {"role": "tool", "content": "3"}], "user and assistant messages only, not tool"),
    "developer": ([{"role": "developer", "content": "Be brief."}, user("a")], "messages only, not developer"),
    "two questions": ([user("a"), user("b")], "must take turns"),
    "two answers": ([user("a"), assistant("b"), assistant("c")], "must take turns"),
    "answer first": ([assistant("a")], "must take turns, the user first"),
    "nothing to answer": ([user("a"), assistant("b")], "the last message must be the user's"),
    **{
        f"{token} of {role}": ([user("a"), {"role": role, "content": f"a{token}b"}][role == "user" :], f"{token} is no text")
        for token in ("<|latent|>", "<|bot|>", "<|eot|>", "<|endoftext|>")
        for role in ("user", "assistant")
    },
    "token across parts": (
        [user([{"type": "text", "text": "<|lat"}, {"type": "text", "text": "ent|>"}])],
        "<|latent|> is no",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_a_chat_refuses(chat, case):
    messages, says = REFUSED[case]
    with pytest.raises(TemplateError) as caught:
        chat(messages, add_generation_prompt=True)
    assert says in str(caught.value) and len(str(caught.value).splitlines()) == 1


def test_tools_are_refused(chat):
    tool = {"type": "function", "function": {"name": "add", "description": "", "parameters": {"type": "object"}}}
    with pytest.raises(TemplateError, match="calls no tools"):
        chat([user("a")], tools=[tool])
