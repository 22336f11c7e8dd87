"""A model and its tokenizer, from a name, a folder or a configuration."""

import hashlib
from pathlib import Path

import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import (
    CONFIG_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedTokenizerBase,
)

from latent_trainer.cli.arguments import ModelArguments
from latent_trainer.compat import find_adapter_config_file
from latent_trainer.configuration import check_feedback
from latent_trainer.data.template import Template, resolve_template
from latent_trainer.data.tokenizer import train_tokenizer
from latent_trainer.errors import InputError, nearest
from latent_trainer.loading import refuse_pickled_adapter
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
        InputError: neither or both of model_name_or_path and model_config, or one that cannot be loaded or built.
    """
    if (arguments.model_name_or_path is None) == (arguments.model_config is None):
        both = "both given; leave one out" if arguments.model_config is not None else "both missing; give one"
        raise InputError(f"model_name_or_path and model_config are {both}")
    options = {} if arguments.dtype is None else {"dtype": getattr(torch, arguments.dtype)}
    if arguments.attn_implementation is not None:
        options["attn_implementation"] = arguments.attn_implementation
    if arguments.model_config is not None:
        tokenizer = _trained_tokenizer(problems, template, arguments.tokenizer_vocab_size)
        base = AutoModelForCausalLM.from_config(_config(arguments.model_config, tokenizer), **options)
    else:
        name, trust = arguments.model_name_or_path, arguments.trust_remote_code
        tokenizer = _saved(AutoTokenizer, arguments.tokenizer_name or name, trust_remote_code=trust)
        config = _saved(AutoConfig, name, trust_remote_code=trust)
        if config.model_type == "latent":
            return _saved(LatentForCausalLM, name, **options), tokenizer
        base = _saved(AutoModelForCausalLM, name, trust_remote_code=trust, **options)
    return LatentForCausalLM.from_base(base, tokenizer, bot_token=template.bot, eot_token=template.eot), tokenizer


def _config(settings: dict, tokenizer: PreTrainedTokenizerBase) -> PreTrainedConfig:
    """Return a base model's configuration; a field its architecture does not have is an `InputError`."""
    settings = dict(settings)
    model_type = settings.pop("model_type", None)
    if model_type not in CONFIG_MAPPING:
        raise InputError(f"model_config: model_type='{model_type}' is unknown{nearest(model_type, CONFIG_MAPPING.keys())}")
    stock = CONFIG_MAPPING[model_type]()
    for name in settings:
        if not hasattr(stock, name):
            raise InputError(f"model_config: '{model_type}' has no field '{name}'{nearest(name, stock.to_dict())}")
        value = settings[name]
        if isinstance(value, int) and value < 0 and not name.endswith("token_id"):
            raise InputError(f"model_config.{name}={value} must be at least 0")
    end = tokenizer.eos_token_id
    own = {"vocab_size": len(tokenizer), "bos_token_id": end, "eos_token_id": end}
    try:
        return CONFIG_MAPPING[model_type](**{**settings, **own})
    except (StrictDataclassError, ValueError) as error:  # a value of the wrong type, or two that contradict each other
        raise InputError(f"model_config: {' '.join(str(error).split())}") from None


def _saved(kind: type, name: str, **options):
    """Return what ``kind.from_pretrained`` finds under a folder's or a Hub name; weights from safetensors only."""
    if kind is AutoModelForCausalLM:
        options["use_safetensors"] = True
        refuse_pickled_adapter(name, options)
    try:
        return kind.from_pretrained(name, **options)
    except OSError as error:
        raise InputError(f"cannot load '{name}': {str(error).splitlines()[0]}") from None


def _trained_tokenizer(problems, template: Template, vocab_size: int | None) -> PreTrainedTokenizerBase:
    texts = [
        " ".join(
            [
                template.question.format(question=problem["question"]),
                *(template.step.format(step=step) for step in problem["steps"]),
                template.answer_prefix.format() + template.answer.format(answer=problem["answer"]),
            ]
        )
        for problem in problems.to_list()
    ]
    return train_tokenizer(texts, vocab_size)


def load_saved(path: str, **options) -> tuple[LatentForCausalLM, PreTrainedTokenizerBase]:
    """Return a saved latent model, adapter or full, and its tokenizer.

    Raises:
        InputError: nothing there, or a plain base model.
    """
    tokenizer = _saved(AutoTokenizer, path)
    if find_adapter_config_file(path) is None and _saved(AutoConfig, path).model_type != "latent":
        raise InputError(f"'{path}' is a plain base model; train it, or let it think untrained: generate --feedback soft")
    return _saved(LatentForCausalLM, path, **options), tokenizer


def load_any(path: str, template: str, feedback: str | None = None) -> tuple[LatentForCausalLM, PreTrainedTokenizerBase]:
    """Return a saved latent model or, wrapped and as it is, a plain base model that thinks only with a ``feedback``.

    Args:
        path: folder or Hub name.
        template: how prompts of a plain base model are written; without thought tokens where it does not think.
        feedback: lets a plain base model think untrained.

    Raises:
        InputError: nothing there, or a feedback for a model that has its own.
    """
    if _saved(AutoConfig, path).model_type != "latent" and find_adapter_config_file(path) is None:
        chosen = resolve_template(template) if feedback else resolve_template(template, markers=False)
        model, tokenizer = wrap_base(path, feedback or "hidden", {}, chosen)
        model.config.num_latents = 0
        return model, tokenizer
    if feedback is not None:
        raise InputError(f"'{path}' has its own feedback; feedback={feedback} is for a plain base model")
    return load_saved(path)


def model_id(path: str) -> str:
    """Return what changes when a saved model does: names, sizes and times of a folder's files, or the Hub name."""
    files = [file for file in sorted(Path(path).glob("*")) if file.suffix in (".json", ".safetensors")]
    facts = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return hashlib.sha256(repr(facts).encode()).hexdigest() if facts else path


def wrap_base(
    path: str, feedback: str, feedback_options: dict, template: Template
) -> tuple[LatentForCausalLM, PreTrainedTokenizerBase]:
    """Return a base model as a latent model that nobody has trained, and its tokenizer."""
    feedback_options = check_feedback(feedback, feedback_options)  # before anything is loaded
    tokenizer = _saved(AutoTokenizer, path)
    thinks = {"feedback": feedback, "feedback_options": feedback_options}
    base = _saved(AutoModelForCausalLM, path)
    model = LatentForCausalLM.from_base(base, tokenizer, bot_token=template.bot, eot_token=template.eot, **thinks)
    model.config.template = template.to_dict()
    return model, tokenizer
