"""Loading what is not a plain latent model: adapters; and the generation settings a new model starts with."""

from pathlib import Path

from transformers import GenerationConfig, PreTrainedModel
from transformers.utils import CONFIG_NAME, GENERATION_CONFIG_NAME, is_peft_available

from latent_trainer.compat import find_adapter_config_file, stored_file
from latent_trainer.errors import InputError
from latent_trainer.methods.objectives import build_objective
from latent_trainer.model.configuration import LatentConfig
from latent_trainer.model.gguf import load_base, names_file
from latent_trainer.model.tokens import fill_new_rows

if is_peft_available():  # a full model whose code came with it loads without
    from peft import PeftConfig, PeftModel


WHERE = ("revision", "subfolder", "token", "cache_dir", "local_files_only")


PICKLES = ("adapter_model.bin", "pytorch_model.bin", "pytorch_model.bin.index.json")  # of weights, by their stock names


def pickled_weights(folder: str) -> str | None:
    """Return the weights of a folder that are a pickle and would be loaded for want of safetensors; None where none are."""
    for name in PICKLES:
        safe = f"{name.partition('.')[0].replace('pytorch_', '')}*.safetensors"
        found = [path for path in sorted(Path(folder).rglob(name)) if not any(path.parent.glob(safe))]
        if found:
            return str(found[0].relative_to(folder))
    return None


def adapter_at(name: str, kwargs: dict) -> dict | None:
    """Return where an adapter lies, those of ``kwargs`` that say so; None where ``name`` has no adapter."""
    if names_file(str(name)):
        return None
    where = {key: kwargs[key] for key in WHERE if key in kwargs}
    return None if find_adapter_config_file(name, **where) is None else where


def refuse_pickled_adapter(name: str, kwargs: dict) -> None:
    """Raise an `InputError` where ``name`` has an adapter whose weights are a pickle, which would be opened.

    Args:
        name: folder or Hub name.
        kwargs: as for ``from_pretrained``.
    """
    where = adapter_at(name, kwargs)
    if where is not None and stored_file(name, "adapter_model.safetensors", where) is None:
        raise InputError(
            f"the adapter in {name} has no adapter_model.safetensors, and weights in a pickle (adapter_model.bin) are never "
            "opened; save it again as safetensors"
        )


def _latent_config(name: str, where: dict) -> LatentConfig | None:
    """Return the configuration of a latent model that lies at ``name``; None where there is none, or another model's."""
    if stored_file(name, CONFIG_NAME, where) is None:
        return None
    config, _ = LatentConfig.get_config_dict(name, **where)
    return LatentConfig.from_pretrained(name, **where) if config.get("model_type") == LatentConfig.model_type else None


def load_adapter(cls, name: str, where: dict, args: tuple, kwargs: dict):
    """Return the latent model an adapter was trained on, with the adapter merged into it.

    Args:
        cls: `LatentForCausalLM`.
        name: folder or Hub name of the adapter.
        where: revision, subfolder and the like, of the adapter.
        args, kwargs: as for ``from_pretrained``; they hold for the model below the adapter.

    Raises:
        InputError: the adapter's base model has no name to load it by or is no latent model, the adapter cannot be merged,
            its weights are a pickle, or there is no PEFT to load it with.
    """
    if not is_peft_available():
        raise InputError(f"{name} is an adapter, and peft is not installed; install it, or push it merged")
    refuse_pickled_adapter(name, where)
    adapter = PeftConfig.from_pretrained(name, **where)
    kwargs.pop(
        "adapter_kwargs", None
    )  # of AutoModelForCausalLM, which has found the adapter as well and leaves it to the class
    config = kwargs.pop("config", None) or _latent_config(name, where)  # None: PEFT alone saved it, with no settings
    below = {"revision": adapter.revision or "main", "subfolder": ""}  # of the model below; ``where`` is the adapter's
    options = {**({} if config is None else {"dtype": config.dtype}), **kwargs, **below}
    latent_base = adapter.base_model_name_or_path
    if adapter.is_prompt_learning:
        raise InputError(
            f"{name} is a learned prompt ({adapter.peft_type.value}), which cannot be merged into a model; "
            f"load it with PeftModel.from_pretrained(model, '{name}')"
        )
    if latent_base:  # trained on a saved latent model
        if adapter_at(latent_base, options) is None and _latent_config(latent_base, {**where, **below}) is None:
            raise InputError(
                f"the adapter in {name} was trained on {latent_base}, which is not a latent model; load it with "
                "peft.AutoPeftModelForCausalLM"
            )
        model = cls.from_pretrained(latent_base, *args, **options)
    elif config is not None and config.base_name_or_path:
        refuse_pickled_adapter(config.base_name_or_path, options)
        base = load_base(config.base_name_or_path, **options)
        ids = {key: getattr(config, key) for key in ("latent_token_id", "bot_token_id", "eot_token_id")}
        if config.known_tokens is not None:
            fill_new_rows(base, config.known_tokens, max(config.known_tokens, 1 + max(ids.values())))
        model = cls.from_base(base, **ids)
        model.config.known_tokens = config.known_tokens
    else:
        raise InputError(
            f"the adapter in {name} does not name the model it was trained on, which had no folder or Hub name; "
            f"build that model and load the adapter with PeftModel.from_pretrained(model, '{name}')"
        )
    if config is not None:
        model.configure(config.feedback, config.feedback_options, config.rollout, config.backprop, config.rollout_options)
        model.add_step_decoder(config.step_decoder, config.step_decoder_group)
        if config.objective is not None:
            own = build_objective(config.objective, config.objective_options, model.config)
            model.add_objective(config.objective, config.objective_options, own)
        if config.stop_head:
            model.add_stop_head()
        for kept in ("template", "num_latents", "open_thought", "stage"):
            setattr(model.config, kept, getattr(config, kept))
        model.config.stop_entropy = config.stop_entropy
    model = PeftModel.from_pretrained(model, name, **where).merge_and_unload()
    for parameter in model.parameters():  # PEFT has frozen all: further training would be of what comes new alone
        parameter.requires_grad_(parameter.is_floating_point())
    if stored_file(name, GENERATION_CONFIG_NAME, where) is not None:
        model.generation_config = GenerationConfig.from_pretrained(name, **where)
    model.name_or_path = model.config.name_or_path = name  # what a further adapter is trained on
    return model


def generation_config(base: PreTrainedModel, config: LatentConfig) -> GenerationConfig:
    """Return the base model's generation settings, with the tokens that only a prompt may hold suppressed."""
    settings = GenerationConfig.from_dict(base.generation_config.to_dict())
    never = {config.latent_token_id, config.bot_token_id, *(settings.suppress_tokens or ())}
    settings.suppress_tokens = sorted(never)
    settings.disable_compile = True  # a static cache on an accelerator would compile a forward that looks at the tokens
    if settings.pad_token_id is None:
        eos = settings.eos_token_id
        settings.pad_token_id = eos[0] if isinstance(eos, list) else eos
    return settings
