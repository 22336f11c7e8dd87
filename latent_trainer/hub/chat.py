"""A chat template that places the latents, so that any program that applies it lets the model think."""

import json

from transformers import PreTrainedTokenizerBase

from latent_trainer.data import Encoder
from latent_trainer.data.thought_tokens import pad_on_the_left
from latent_trainer.errors import InputError

SAMPLES = ("7 +3 x7 -5", "What is 3 x 4?\nExplain.", "{{ x }} {% if y %} {'a': \"b\"} <i>é</i> \\frac{1}{2}")
# What follows is one line each, because a template's own line breaks would reach the prompt.
TEXT = (
    "{% macro text(content) %}"
    "{% if content is string %}{{ content }}"
    "{% elif content is defined and content is iterable and content is not mapping %}"
    "{% for part in content %}"
    "{% if part is mapping and part['type'] == 'text' and part['text'] is string %}{{ part['text'] }}"
    "{% else %}{{ raise_exception('this model reads text parts only, not ' ~ (part['type'] if part is mapping else part)) }}"
    "{% endif %}{% endfor %}"
    "{% else %}{{ raise_exception('the content of a message must be a text or a list of text parts') }}{% endif %}"
    "{% endmacro %}"
)
CHECKS = (
    "{% if message['role'] not in ('user', 'assistant') %}"
    "{{ raise_exception('this model takes user and assistant messages only, not ' ~ message['role']) }}{% endif %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('user and assistant messages must take turns, the user first') }}{% endif %}"
    "{% if message['tool_calls'] %}{{ raise_exception('this model calls no tools') }}{% endif %}"
    "{% set content = text(message['content']) %}"
)


def set_chat_template(tokenizer: PreTrainedTokenizerBase, template: dict, num_latents: int | None) -> None:
    """Give a tokenizer a chat template whose generation prompt is the one the model was trained on.

    A user message is a question; a generation prompt, and every assistant message, starts with the thought. A message is a
    text or a list of text parts, which are joined; other parts, other roles, tools, two messages of one role in a row, and
    text that spells a control token are refused, by ``raise_exception`` as in any chat template. Prompts are padded on the
    left, with the end-of-text token where the tokenizer has no padding of its own.

    Args:
        tokenizer: the tokenizer saved with the model; changed in place.
        template: fields of `latent_trainer.data.Template`.
        num_latents: K; None where a prompt ends at the start of a thought.

    Raises:
        InputError: the tokenizer splits the text of a whole prompt otherwise than the parts the model was trained on.
    """
    encoder = Encoder(tokenizer, template)
    tokenizer.chat_template = _jinja(encoder, num_latents)
    pad_on_the_left(tokenizer)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    for question in SAMPLES:
        half = len(question) // 2
        parts = [{"type": "text", "text": part} for part in (question[:half], question[half:])]
        chats = [[{"role": "user", "content": content}] for content in (question, parts)]
        ids = tokenizer.apply_chat_template(chats, add_generation_prompt=True, return_dict=True)["input_ids"]
        if ids != [encoder.prompt(question, num_latents)] * len(chats):
            raise InputError(
                f"the tokenizer splits the prompt of {question!r} otherwise through a chat template than in training; "
                "use a prompt template whose parts it splits alike"
            )


def _jinja(encoder: Encoder, num_latents: int | None) -> str:
    """Return the chat template."""
    before, *between = encoder.template.question.format(question="\0").split("\0")
    question = _literal(before) + "".join("{{ content }}" + _literal(text) for text in between)
    thought = _literal(thought_text(encoder, num_latents))
    start = "{{ bos_token }}" if encoder.start else ""
    tokens = json.dumps(list(encoder.control), ensure_ascii=False)
    return (
        TEXT
        + "{% if tools %}{{ raise_exception('this model calls no tools') }}{% endif %}"
        + start
        + "{% for message in messages %}"
        + CHECKS
        + "{% for token in "
        + tokens
        + " %}{% if token in content %}{{ raise_exception(token ~ ' is no text; take it out of the message') }}{% endif %}"
        + "{% endfor %}{% if message['role'] == 'user' %}"
        + question
        + "{% else %}"
        + thought
        + "{{ content }}{{ eos_token }}{% endif %}{% endfor %}{% if add_generation_prompt %}"
        + "{% if not messages or messages[-1]['role'] != 'user' %}"
        + "{{ raise_exception('the last message must be the user\\'s, for there is nothing else to answer') }}{% endif %}"
        + thought
        + "{% endif %}"
    )


def thought_text(encoder: Encoder, num_latents: int | None) -> str:
    """Return what a prompt holds after its question, as text: speed, the thought, and a given answer prefix."""
    factor = encoder.template.compression
    empty = encoder.question("") + encoder.speed(factor)
    speed = encoder.template.speed.format(compression=factor) if factor is not None else ""
    end = encoder.prompt("", num_latents)[len(empty) :]
    prefix = "" if encoder.template.score_answer_prefix else encoder.template.answer_prefix.format()
    width = len(encoder.tokenizer(prefix, add_special_tokens=False).input_ids)
    return speed + "".join(encoder.tokenizer.convert_ids_to_tokens(end[: len(end) - width])) + prefix


def _literal(text: str) -> str:
    """Return text as a Jinja expression, so that braces and quotes in it stay what they are."""
    return "{{ " + json.dumps(text, ensure_ascii=False) + " }}" if text else ""
