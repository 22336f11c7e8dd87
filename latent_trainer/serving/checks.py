"""What vLLM can serve of a latent model; whatever cannot be right is refused in one line."""

from collections.abc import Sequence
from pathlib import Path

from packaging.version import Version
from transformers.utils import CONFIG_NAME

from latent_trainer.compat import stored_file
from latent_trainer.errors import InputError
from latent_trainer.methods.feedback import FEEDBACKS
from latent_trainer.model.configuration import LatentConfig
from latent_trainer.model.loading import adapter_at
from latent_trainer.serving.steps import ThoughtTokens
from latent_trainer.whole_files import read_json

FROM, BELOW = "0.32", "0.33"  # the releases of vLLM whose hooks were read
BASES = ("gpt2", "llama")  # compared with our own generate(), token by token
ANOTHER = "use latent-trainer serve"


def unfit_release(release: str) -> str | None:
    """Return in one line why a release of vLLM cannot serve latent models, None where it can.

    >>> unfit_release("0.32.1") is None
    True
    """
    if Version(FROM) <= Version(release) < Version(BELOW):
        return None
    return (
        f"latent models are served by vLLM from {FROM} up to but not including {BELOW}, and this is {release}; install one "
        f"of those, or {ANOTHER}"
    )


def latent_settings(name: str, revision: str | None = None) -> dict | None:
    """Return what config.json says of a latent model; None where there is no such file, or it is another model's.

    Args:
        name: folder or Hub name.
        revision: of the Hub.
    """
    try:
        file = stored_file(name, CONFIG_NAME, {"revision": revision})
    except OSError:  # neither a folder nor a name: vLLM knows other places, or says so itself
        return None
    settings = {} if file is None else read_json(Path(file))
    return settings if settings.get("model_type") == LatentConfig.model_type else None


def refuse_model(settings: dict, folder: str) -> None:
    """Raise an `InputError` where a saved model is none that vLLM can run.

    Args:
        settings: what its config.json says.
        folder: folder or Hub name.
    """
    feedback, rollout = settings.get("feedback", "hidden"), settings.get("rollout", "sequential")
    plugin = (settings.get("plugins") or {}).get("feedback")
    code = f"feedback={feedback} is " + (f"code of plug-in {plugin.get('file')}" if plugin else "none of the library's")
    if adapter_at(folder, {}) is not None:
        if plugin:
            raise InputError(
                f"{folder} holds an adapter whose {code}, and vLLM runs whole models without plug-ins; {ANOTHER}"
            )
        raise InputError(
            f"{folder} holds an adapter, and vLLM serves whole models; merge it with latent-trainer export {folder} "
            "--to NEW_FOLDER --merge"
        )
    if plugin or feedback not in FEEDBACKS:
        raise InputError(f"{code}, and vLLM's processes load no plug-ins; {ANOTHER}")
    if rollout != "sequential":
        raise InputError(
            f"rollout={rollout} reads a thought several times over, and vLLM reads every column once; {ANOTHER}, or train "
            "with rollout=sequential"
        )
    kind = (settings.get("base_config") or {}).get("model_type")
    if kind not in BASES:
        raise InputError(f"a base model of type {kind} was never compared under vLLM, only {' and '.join(BASES)}; {ANOTHER}")


# of vLLM's settings, those that do not go with thoughts
SETTINGS = {
    "several devices a model": "the states of a thought are kept on one device",
    "speculative decoding": "a draft reads several columns a step, and a latent needs the one before it",
    "LoRA adapters at run time": "an adapter changes what a thought grows from",
    "a KV connector": "it brings keys and values without the hidden states that thoughts grow from",
    "prompt embeddings": "an embedding does not say where a latent stands",
    "the V2 model runner": "it was not read yet (set VLLM_USE_V2_MODEL_RUNNER=0)",
    "a runner that pools": "a latent model writes text",
    "a scheduler of your own": "every latent must be the first column of a step",
}


def refuse_settings(asked: dict[str, bool]) -> None:
    """Raise an `InputError` for the first of vLLM's settings that is asked for and does not go with thoughts.

    Args:
        asked: keys of ``SETTINGS``, and whether each is asked for.
    """
    for name, why in SETTINGS.items():
        if asked[name]:
            raise InputError(f"a latent model cannot be served with {name}: {why}; leave it out")


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
