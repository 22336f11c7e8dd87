"""A chat template that places the latents, so that any program that applies it lets the model think."""

import json

from transformers import PreTrainedTokenizerBase

from latent_trainer.data import Encoder
from latent_trainer.errors import InputError
from latent_trainer.tokens import pad_on_the_left

SAMPLES = ("7 +3 x7 -5", "What is 3 x 4?\nExplain.")


def set_chat_template(tokenizer: PreTrainedTokenizerBase, template: dict, num_latents: int) -> None:
    """Give a tokenizer a chat template whose generation prompt is the one the model was trained on.

    A user message is a question; a generation prompt, and every assistant message, starts with the thought. Prompts are
    padded on the left, with the end-of-text token where the tokenizer has no padding of its own.

    Args:
        tokenizer: the tokenizer saved with the model; changed in place.
        template: fields of `latent_trainer.data.Template`.
        num_latents: K.

    Raises:
        InputError: the tokenizer splits the text of a whole prompt otherwise than the parts the model was trained on.
    """
    encoder = Encoder(tokenizer, template)
    tokenizer.chat_template = _jinja(encoder, num_latents)
    pad_on_the_left(tokenizer)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    for question in SAMPLES:
        message = {"role": "user", "content": question}
        ids = tokenizer.apply_chat_template([message], add_generation_prompt=True, return_dict=True)["input_ids"]
        if ids != encoder.prompt(question, num_latents):
            raise InputError(
                f"the tokenizer splits the prompt of {question!r} otherwise through a chat template than in training; "
                "use a prompt template whose parts it splits alike"
            )


def _jinja(encoder: Encoder, num_latents: int) -> str:
    """Return the chat template as one line, because its own line breaks would reach the prompt."""
    before, *between = encoder.template.question.format(question="\0").split("\0")
    question = _literal(before) + "".join("{{ message['content'] }}" + _literal(text) for text in between)
    thought = _literal(thought_text(encoder, num_latents))
    start = "{{ bos_token }}" if encoder.start else ""
    return (
        start + "{% for message in messages %}"
        "{% if message['role'] == 'user' %}"
        + question
        + "{% elif message['role'] == 'assistant' %}"
        + thought
        + "{{ message['content'] }}{{ eos_token }}"
        "{% else %}{{ raise_exception('this model takes user and assistant messages only') }}{% endif %}"
        "{% endfor %}{% if add_generation_prompt %}" + thought + "{% endif %}"
    )


def thought_text(encoder: Encoder, num_latents: int) -> str:
    """Return what a prompt holds after its question, as text: the thought, and the answer prefix where it is given."""
    empty = encoder.question("")
    end = encoder.prompt("", num_latents)[len(empty) :]
    prefix = "" if encoder.template.score_answer_prefix else encoder.template.answer_prefix.format()
    width = len(encoder.tokenizer(prefix, add_special_tokens=False).input_ids)
    return "".join(encoder.tokenizer.convert_ids_to_tokens(end[: len(end) - width])) + prefix


def _literal(text: str) -> str:
    """Return text as a Jinja expression, so that braces and quotes in it stay what they are."""
    return "{{ " + json.dumps(text, ensure_ascii=False) + " }}" if text else ""
