"""Every private or undocumented name of transformers and PEFT that the library touches, and what each release calls it.

Nothing else in the library reads such a name (tests/test_compat.py looks), so a new release can break this file only. It
travels with a pushed model, and needs no more than a model does: what training alone needs is looked up when it is asked.
"""

import contextlib
import importlib
import inspect
import sys
from collections.abc import Callable
from dataclasses import fields
from functools import wraps

import transformers
from torch import nn
from transformers.modeling_outputs import BaseModelOutputWithPast
from transformers.utils import cached_file, logging

TESTED = ((5, 17), (5, 24))  # the oldest and the newest minor release of transformers; setup.cfg says the same

# Undocumented public names and where they live: `from latent_trainer.compat import NAME`.
MODULES = {
    "ExportableState": "transformers.trainer_callback",
    "GenericForSequenceClassification": "transformers.modeling_layers",
    "GradientCheckpointingLayer": "transformers.modeling_layers",
    "PREFIX_CHECKPOINT_DIR": "transformers.trainer_utils",
    "Serve": "transformers.cli.serve",
    "TRAINER_STATE_NAME": "transformers.trainer",
    "TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING": "peft.utils",
    "apply_liger_kernel": "transformers.integrations.liger",
    "deepspeed_config": "transformers.integrations",
    "find_adapter_config_file": "transformers.utils.peft_utils",
    "get_length_grouped_indices": "transformers.trainer_pt_utils",
    "guard_torch_init_functions": "transformers.initialization",
}

SERVER = "transformers.cli.serving.model_manager"  # the module of ``transformers serve`` that loads models

# Private names that the library's classes define for stock ones to find, by the stock class they extend.
DEFINED = {
    "GenerationMixin": ("_prepare_cache_for_generation",),
    "PreTrainedModel": (
        "_init_weights",
        "_no_split_modules",
        "_supports_attention_backend",
        "_supports_flash_attn",
        "_supports_flex_attn",
        "_supports_sdpa",
        "_tied_weights_keys",
    ),
    "Trainer": (
        "_get_output_dir",
        "_get_train_sampler",
        "_issue_warnings_after_load",
        "_load_callback_state",
        "_load_from_checkpoint",
        "_load_optimizer_and_scheduler",
        "_push_from_checkpoint",
        "_save",
        "_save_checkpoint",
        "_track_num_input_tokens",
    ),
}

# transformers 5.24 calls the key-value cache ``cache`` in every signature and output; before, it was ``past_key_values``
CACHE = "cache" if "cache" in {one.name for one in fields(BaseModelOutputWithPast)} else "past_key_values"


def __getattr__(name: str):
    """Return one of the names in ``MODULES``."""
    if name not in MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(MODULES[name]), name)


def known_releases() -> str:
    """Return the releases of transformers that the library is tested with, as text."""
    return " to ".join(f"{major}.{minor}" for major, minor in TESTED)


def check_release(release: str = transformers.__version__) -> bool:
    """Return whether a release of transformers is one the library is tested with; say so in one line where it is not."""
    major, minor = release.split(".")[:2]
    if TESTED[0] <= (int(major), int(minor)) <= TESTED[1]:
        return True
    logging.get_logger(__name__).warning(
        f"latent models were tested with transformers {known_releases()}, and this is {release}; if something is wrong, "
        f"pip install 'transformers>={TESTED[0][0]}.{TESTED[0][1]},<{TESTED[1][0]}.{TESTED[1][1] + 1}'"
    )
    return False


def cache_argument(decoder: Callable) -> str:
    """Return what a model's forward calls its key-value cache; code of an older release keeps the older name."""
    names = inspect.signature(getattr(decoder, "forward", decoder)).parameters
    return next((name for name in (CACHE, "past_key_values", "cache") if name in names), CACHE)


def takes_either_cache(forward: Callable) -> Callable:
    """Let a forward with a ``past_key_values`` take the same thing under the name ``cache``, by which 5.24 passes it."""

    @wraps(forward)
    def renamed(*args, **kwargs):
        if "cache" in kwargs:
            if kwargs.get("past_key_values") is not None:
                raise TypeError("forward got both cache and past_key_values, two names of one thing; leave one out")
            kwargs["past_key_values"] = kwargs.pop("cache")
        return forward(*args, **kwargs)

    return renamed


def stored_file(name: str, file: str, where: dict) -> str | None:
    """Return the path of a file in a folder or repository, downloaded if need be; None where it has no such file.

    Args:
        name: the folder or repository.
        file: the file's name.
        where: revision, subfolder and the like.
    """
    return cached_file(name, file, _raise_exceptions_for_missing_entries=False, **where)


def offer_to_server(architecture: str, model_class: type | None = None) -> None:
    """Let ``transformers serve`` find a model class; it takes a folder's architecture from transformers and nowhere else.

    Nothing changes in a process that has not loaded the server.

    Args:
        architecture: as the folder's config.json names it.
        model_class: what loads it; None, where nothing does yet, takes the auto class, which finds the code of a folder.
    """
    server = sys.modules.get(SERVER)
    if server is not None and (model_class is not None or not hasattr(server.transformers, architecture)):
        # not sys.modules["transformers"]: transformers runs its own __init__ twice, and the server may hold the first one
        setattr(server.transformers, architecture, model_class or transformers.AutoModelForCausalLM)


def save_without_push(trainer) -> None:
    """Save a trainer's finished model as the stock trainer does, but do not push it."""
    transformers.Trainer.save_model(trainer, _internal_call=True)


def get_attention(config) -> str | None:
    """Return the attention implementation in a configuration."""
    return config._attn_implementation


def set_attention(config, attention: str | None) -> None:
    """Put an attention implementation into a configuration and its parts."""
    config._attn_implementation = attention


@contextlib.contextmanager
def watched_attention(see: Callable):
    """Within the block ``see`` is called with the arguments of every attention function that a stock layer looks up.

    It is called before the function, whose result stays as it is. Layers with an attention of their own look none up.
    """
    stock = transformers.AttentionInterface.get_interface

    def get_interface(self, *args, **kwargs):
        function = stock(self, *args, **kwargs)

        @wraps(function)
        def watched(*args, **kwargs):
            see(*args, **kwargs)
            return function(*args, **kwargs)

        return watched

    transformers.AttentionInterface.get_interface = get_interface
    try:
        yield
    finally:
        transformers.AttentionInterface.get_interface = stock


def builds_causal_model(config) -> bool:
    """Return whether the stock library has a causal language model for a configuration."""
    return type(config) in transformers.AutoModelForCausalLM._model_mapping


def has_state(model: nn.Module) -> bool:
    """Return whether a model carries a state from column to column that is not a key-value cache."""
    return model._is_stateful


def take_state(model: nn.Module, base: nn.Module) -> None:
    """Have stock generation, which asks a model whether it has a state, get the answer of the model it wraps."""
    model._is_stateful = base._is_stateful


def as_initialized(layer, like) -> None:
    """Have a cache layer that is given its keys and values know what it holds, as another layer does."""
    for name in ("dtype", "device", "is_initialized"):  # transformers 5.24 asks the tensors for their type
        if hasattr(like, name):
            setattr(layer, name, getattr(like, name))


def keep_weights(model: nn.Module) -> None:
    """Have ``post_init`` leave a model's weights as they are."""
    for module in model.modules():
        module._is_hf_initialized = True


def keeps_weights(part: nn.Module | nn.Parameter) -> bool:
    """Return whether a module or a parameter has its numbers already."""
    return getattr(part, "_is_hf_initialized", False)


def train_batch_size(trainer) -> int:
    """Return the rows of one forward call of a trainer on this process."""
    return trainer._train_batch_size


def memory_tracker(trainer):
    """Return what watches the memory of a trainer's calls; it asks by which method it is called."""
    return trainer._memory_tracker


def prepared(trainer, inputs: dict) -> dict:
    """Return inputs on the device and in the type a trainer wants them."""
    return trainer._prepare_inputs(inputs)


def evaluate_as_in_training(trainer) -> dict[str, float]:
    """Evaluate and let a scheduler that waits for a better metric see the result, as a trainer does within a run."""
    return trainer._evaluate(None, None)


check_release()
