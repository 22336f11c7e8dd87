"""A model and its tokenizer, from a name, a folder or a configuration."""

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

from latent_trainer.cli.arguments import ModelArguments
from latent_trainer.data.template import Template
from latent_trainer.data.tokenizer import train_tokenizer
from latent_trainer.errors import InputError, check_choice
from latent_trainer.modeling import LatentForCausalLM


def build_model(
    arguments: ModelArguments, problems, template: Template
) -> tuple[LatentForCausalLM, PreTrainedTokenizerBase]:
    """Return the latent model to train and its tokenizer.

    Args:
        arguments: names a base model, a latent model or a configuration.
        problems: training problems; a tokenizer is trained on them where the model comes from a configuration.
        template: its thought tokens are added.

    Raises:
        InputError: neither or both of model_name_or_path and model_config.
    """
    if (arguments.model_name_or_path is None) == (arguments.model_config is None):
        both = "both given; leave one out" if arguments.model_config is not None else "both missing; give one"
        raise InputError(f"model_name_or_path and model_config are {both}")
    if arguments.model_config is not None:
        tokenizer = _trained_tokenizer(problems, template, arguments.tokenizer_vocab_size)
        settings = {**arguments.model_config, "vocab_size": len(tokenizer)}
        settings |= {"bos_token_id": tokenizer.eos_token_id, "eos_token_id": tokenizer.eos_token_id}
        if "model_type" not in settings:
            raise InputError("model_config has no model_type; say which architecture to build")
        base = AutoModelForCausalLM.from_config(AutoConfig.for_model(settings.pop("model_type"), **settings))
    else:
        name, trust = arguments.model_name_or_path, arguments.trust_remote_code
        tokenizer = AutoTokenizer.from_pretrained(arguments.tokenizer_name or name, trust_remote_code=trust)
        options = {} if arguments.dtype is None else {"dtype": _dtype(arguments.dtype)}
        if arguments.attn_implementation is not None:
            options["attn_implementation"] = arguments.attn_implementation
        config = AutoConfig.from_pretrained(name, trust_remote_code=trust)
        if config.model_type == "latent":
            return LatentForCausalLM.from_pretrained(name, **options), tokenizer
        base = AutoModelForCausalLM.from_pretrained(name, trust_remote_code=trust, **options)
    return LatentForCausalLM.from_base(base, tokenizer, bot_token=template.bot, eot_token=template.eot), tokenizer


def _trained_tokenizer(problems, template: Template, vocab_size: int | None) -> PreTrainedTokenizerBase:
    texts = [
        " ".join(
            [
                template.question.format(question=problem["question"]),
                *(template.step.format(step=step) for step in problem["steps"]),
                template.answer_prefix.format() + template.answer.format(answer=problem["answer"]),
            ]
        )
        for problem in problems
    ]
    return train_tokenizer(texts, vocab_size)


def _dtype(name: str) -> torch.dtype:
    check_choice("dtype", name, ("float32", "bfloat16", "float16"))
    return getattr(torch, name)


def load_saved(path: str, **options) -> tuple[LatentForCausalLM, PreTrainedTokenizerBase]:
    """Return a saved latent model, adapter or full, and its tokenizer."""
    tokenizer = AutoTokenizer.from_pretrained(path)
    return LatentForCausalLM.from_pretrained(path, **options), tokenizer
