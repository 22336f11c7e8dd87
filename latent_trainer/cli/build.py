"""A model and its tokenizer, from a name, a folder or a configuration."""

import hashlib
import re
from pathlib import Path

import torch
from huggingface_hub.errors import StrictDataclassError
from peft import LoraConfig
from transformers import (
    CONFIG_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedTokenizerBase,
)

from latent_trainer.cli.arguments import AdapterArguments, ModelArguments
from latent_trainer.compat import find_adapter_config_file
from latent_trainer.data.template import CHAT, TEMPLATES, Template, chat_form, resolve_template
from latent_trainer.data.tokenizer import train_tokenizer
from latent_trainer.errors import InputError, nearest
from latent_trainer.methods.feedback import FEEDBACKS
from latent_trainer.model.configuration import check_feedback
from latent_trainer.model.gguf import file_options, load_base, located, named
from latent_trainer.model.loading import refuse_pickled_adapter
from latent_trainer.model.modeling import LatentForCausalLM

SETTINGS = re.compile(r"(config|generation_config|adapter_config|tokenizer\w*|vocab|\w+_tokens(_map)?)\.json$")


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
        trust = arguments.trust_remote_code
        name = named(arguments.model_name_or_path, arguments.gguf_file)
        tokenizer = _saved(AutoTokenizer, arguments.tokenizer_name or name, trust_remote_code=trust)
        config = _saved(AutoConfig, name, trust_remote_code=trust)
        if config.model_type == "latent":
            return _saved(LatentForCausalLM, name, **options), tokenizer
        base = _saved(AutoModelForCausalLM, name, trust_remote_code=trust, **options)
    return LatentForCausalLM.from_base(base, tokenizer, bot_token=template.bot, eot_token=template.eot), tokenizer


def lora_config(arguments: AdapterArguments) -> LoraConfig | None:
    """Return the adapters that are asked for, None where every weight trains."""
    if not arguments.use_peft:
        return None
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=arguments.lora_r,
        lora_alpha=arguments.lora_alpha,
        lora_dropout=arguments.lora_dropout,
        target_modules=arguments.target_modules,
    )


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
    """Return what ``kind.from_pretrained`` finds under a folder's, a file's or a Hub name (see `gguf.located`)."""
    place, options = file_options(name, options)
    if kind is AutoModelForCausalLM:
        refuse_pickled_adapter(place, options)
    try:
        return load_base(place, **options) if kind is AutoModelForCausalLM else kind.from_pretrained(place, **options)
    except InputError:
        raise
    except (OSError, ValueError) as error:  # the second of a configuration that is none
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
    factors = range(1, max(9, template.compression or 1) + 1) if template.speed else ()
    return train_tokenizer([*texts, *(template.speed.format(compression=factor) for factor in factors)], vocab_size)


def load_saved(path: str, **options) -> tuple[LatentForCausalLM, PreTrainedTokenizerBase]:
    """Return a saved latent model, adapter or full, and its tokenizer.

    Raises:
        InputError: nothing there, or a plain base model.
    """
    tokenizer = _saved(AutoTokenizer, path)
    if not _is_latent(path):
        raise InputError(
            f"'{path}' is a plain base model; train it, or let it think without training: generate --feedback soft"
        )
    return _saved(LatentForCausalLM, path, **options), tokenizer


def load_any(
    path: str, template: str | None, feedback: str | None, feedback_options: dict | None = None, thinks: bool = False
) -> tuple[LatentForCausalLM, PreTrainedTokenizerBase]:
    """Return a saved latent model or, wrapped and as it is, a plain base model that thinks only with a ``feedback``.

    Args:
        path: folder or Hub name, or that of a GGUF file.
        template: how prompts of a plain base model are written, without thought tokens where it does not think; "chat" is
            the form of its own chat template. None is "chat" where the model has one and does not think, else "coconut".
        feedback: lets a plain base model think untrained.
        feedback_options: options of the feedback.
        thinks: whether latents are asked for.

    Raises:
        InputError: nothing there, a feedback or a template for a model that has its own, no chat template, or latents of a
            plain base model without a feedback.
    """
    if feedback is not None:  # before anything is loaded
        FEEDBACKS.choose("feedback", feedback)
        feedback_options = check_feedback(feedback, feedback_options or {})
    if template not in (None, CHAT):
        TEMPLATES.choose("template", template)
    if not _is_latent(path):
        if thinks and feedback is None:
            raise InputError(
                f"'{path}' is a plain base model; train it, or let it think without training with feedback=soft"
            )
        tokenizer = _saved(AutoTokenizer, path)
        if template is None:
            template = CHAT if tokenizer.chat_template and not feedback else "coconut"
        chosen = chat_form(tokenizer) if template == CHAT else resolve_template(template)
        chosen = chosen if feedback else resolve_template(chosen, markers=False)
        model = wrap_base(path, tokenizer, feedback or "hidden", feedback_options or {}, chosen)
        model.config.num_latents = 0
        return model, tokenizer
    for name, value in (("feedback", feedback), ("template", template)):
        if value is not None:
            raise InputError(f"'{path}' has its own {name}; {name}={value} is for a plain base model")
    return load_saved(path)


def set_compression(model: LatentForCausalLM, factor: int | None) -> None:
    """Have prompts ask for latents that stand for so many tokens each; None leaves them as trained.

    Raises:
        InputError: prompts of this model are told no such number.
    """
    if factor is not None:
        model.config.template = resolve_template(model.config.template or "coconut", compression=factor).to_dict()


def of_a_step(model: LatentForCausalLM, asked: int | None) -> int:
    """Return how many latents stand for a written step: as asked for, else as the model was trained, else 1."""
    return asked or model.config.latents_per_step or 1


def _is_latent(path: str) -> bool:
    """Return whether a latent model or an adapter lies at a path, not a plain base model."""
    if located(path)[1] is not None:
        return False
    try:
        adapter = find_adapter_config_file(path)
    except OSError as error:
        raise InputError(f"cannot load '{path}': {str(error).splitlines()[0]}") from None
    return adapter is not None or _saved(AutoConfig, path).model_type == "latent"


def model_id(path: str) -> str:
    """Return what changes when a saved model does: names, sizes and times of a folder's files, or the Hub name.

    What a run or an evaluation has noted beside the model counts for nothing.
    """
    files = [file for file in sorted(Path(path).glob("*")) if file.suffix == ".safetensors" or SETTINGS.match(file.name)]
    facts = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return hashlib.sha256(repr(facts).encode()).hexdigest() if facts else path


def wrap_base(
    path: str, tokenizer: PreTrainedTokenizerBase, feedback: str, feedback_options: dict, template: Template
) -> LatentForCausalLM:
    """Return a base model as a latent model that nobody has trained; the tokenizer gets the thought tokens."""
    thinks = {"feedback": feedback, "feedback_options": check_feedback(feedback, feedback_options)}
    base = _saved(AutoModelForCausalLM, path)
    model = LatentForCausalLM.from_base(base, tokenizer, bot_token=template.bot, eot_token=template.eot, **thinks)
    model.config.template = template.to_dict()
    return model
