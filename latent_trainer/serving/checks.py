"""What vLLM can serve of a latent model; whatever cannot be right is refused in one line."""

from collections.abc import Sequence

from packaging.version import Version

from latent_trainer.errors import InputError
from latent_trainer.model.configuration import LatentConfig
from latent_trainer.model.loading import adapter_at
from latent_trainer.registry import origins
from latent_trainer.serving.steps import ThoughtTokens

FROM, BELOW = "0.32", "0.33"  # the releases of vLLM whose hooks were read
# Base models that were compared with our own generate(), token by token.
BASES = ("gpt2", "llama")


class ServingError(RuntimeError):
    """A model or a setting that cannot be served.

    No ``ValueError`` as `InputError` is: vLLM's settings, which are checked by pydantic, wrap those in several lines.
    """


def unfit_release(release: str) -> str | None:
    """Return in one line why a release of vLLM cannot serve latent models, None where it can.

    >>> unfit_release("0.32.1") is None
    True
    """
    if Version(FROM) <= Version(release) < Version(BELOW):
        return None
    return (
        f"latent models are served by vLLM from {FROM} up to but not including {BELOW}, and this is {release}; install one "
        "of those, or use latent-trainer serve"
    )


def refuse_model(config, folder: str) -> None:
    """Raise an `InputError` where a model in a folder is none that vLLM can be taught to run.

    Args:
        config: as vLLM has read it from the folder.
        folder: folder or Hub name.
    """
    if not isinstance(config, LatentConfig):
        raise InputError(
            f"{folder}: its configuration is {type(config).__name__} of code that came with it, not this library's; serve "
            "it without --trust-remote-code"
        )
    own = origins(feedback=config.feedback).get("feedback")
    if adapter_at(folder, {}) is not None:
        custom = f" with feedback={config.feedback} of plug-in {own['file']}" if own else ""
        raise InputError(
            f"{folder} holds an adapter{custom}, and vLLM serves whole models; merge it with latent-trainer export {folder} "
            "--to NEW_FOLDER --merge"
        )
    if config.rollout != "sequential":
        raise InputError(
            f"rollout={config.rollout} reads a thought several times over, and vLLM reads every column once; use "
            "latent-trainer serve, or train with rollout=sequential"
        )
    if own:
        raise InputError(
            f"feedback={config.feedback} is code of plug-in {own['file']}, which vLLM's processes do not load; use "
            "latent-trainer serve"
        )
    kind = config.base_config.model_type
    if kind not in BASES:
        raise InputError(
            f"the base model is a {kind}, which nobody has compared under vLLM yet; it serves {', '.join(BASES)}. Use "
            "latent-trainer serve"
        )


def refuse_settings(asked: dict[str, bool]) -> None:
    """Raise an `InputError` for the first of vLLM's settings that is asked for and does not go with thoughts.

    Args:
        asked: keys of ``SETTINGS`` and whether each is asked for.
    """
    for name, why in SETTINGS.items():
        if asked.get(name):
            raise InputError(f"{why}, so that a latent model cannot be served with {name}; leave it out")


SETTINGS = {
    "several devices a model": "the states of a thought are kept on one device",
    "speculative decoding": "a draft reads several columns a step, and a latent needs the one before it",
    "LoRA adapters at run time": "an adapter changes what a thought grows from",
    "a KV connector": "it brings keys and values without the hidden states that thoughts grow from",
    "prompt embeddings": "an embedding does not say where a latent stands",
    "the V2 model runner": "it was not read yet (set VLLM_USE_V2_MODEL_RUNNER=0)",
}


def refuse_prompt(ids: Sequence[int] | None, tokens: ThoughtTokens) -> None:
    """Raise an `InputError` where a prompt cannot be thought about.

    Args:
        ids: the prompt's tokens; None where it is given as embeddings.
        tokens: the thought tokens.
    """
    if ids is None:
        raise InputError("a latent model reads tokens, and this prompt is given as embeddings; send text or token ids")
    if len(ids) and ids[0] == tokens.latent:
        raise InputError("the prompt begins with <|latent|>, which has no column before it to grow from; put text before it")
