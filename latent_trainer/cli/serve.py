"""``latent-trainer serve``: a saved model behind transformers' own server, which answers as OpenAI's API does."""

import importlib
import inspect
import json
from pathlib import Path

import typer
from transformers import AutoTokenizer

from latent_trainer.cli.arguments import without_plugins
from latent_trainer.compat import SERVER, Serve, offer_to_server, stored_file
from latent_trainer.errors import InputError
from latent_trainer.hub.chat import set_chat_template
from latent_trainer.model.configuration import ARCHITECTURE, LatentConfig
from latent_trainer.model.modeling import LatentForCausalLM
from latent_trainer.options import parse_json
from latent_trainer.whole_files import read_json

NEEDED = ("fastapi", "openai", "uvicorn")  # what the extra serve brings


def run(argv: list[str]) -> None:
    """Hand the words to ``transformers serve``, which is left as it is; it runs until it is stopped.

    Raises:
        InputError: no folder or Hub name, no latent model there, or continuous batching.
        ModuleNotFoundError: the extra ``serve`` is not installed.
    """
    for module in (*NEEDED, SERVER):
        importlib.import_module(module)

    def serve(**options):
        Serve(**_prepared(options))

    serve.__signature__, serve.__doc__ = inspect.signature(Serve), Serve.__doc__
    offer_to_server(ARCHITECTURE, LatentForCausalLM)  # loads adapters too, which the auto class does not
    app = typer.Typer(add_completion=False)
    app.command(epilog="Also --plugin: Python file or module that registers names of its own; may be given several times.")(
        serve
    )
    app(without_plugins(argv), prog_name="latent-trainer serve")


def _prepared(options: dict) -> dict:
    """Return the server's options with what a latent model needs; an `InputError` for what it cannot do."""
    name = options["force_model"]
    if name is None:
        raise InputError("serve needs a folder or Hub name: latent-trainer serve FOLDER")
    if options["continuous_batching"]:
        raise InputError("--continuous-batching cannot compute a latent between two tokens; leave it out")
    given = parse_json("chat_template_kwargs", options["chat_template_kwargs"] or "{}")
    return options | {"chat_template_kwargs": json.dumps({**_chat_template(name), **given})}


def _chat_template(name: str) -> dict[str, str]:
    """Return the chat template of a folder that training left, which has none that places the latents, or nothing.

    What was pushed or exported has one in its tokenizer.

    Args:
        name: a folder or Hub name, also with @revision.

    Raises:
        InputError: no latent model there, or one without a prompt template.
    """
    folder = Path(name).is_dir()
    place, _, revision = (name, "", "") if folder else name.partition("@")
    file = stored_file(place, "config.json", {"revision": revision or None})
    settings = {} if file is None else read_json(Path(file))
    if settings.get("model_type") != LatentConfig.model_type:
        raise InputError(
            f"'{name}' holds no latent model (config.json with model_type latent); name a folder that training wrote"
        )
    if "auto_map" in settings:
        return {}
    if settings.get("template") is None:
        raise InputError(f"{name}: its config.json has no template, so no chat can be written; set model.config.template")
    tokenizer = AutoTokenizer.from_pretrained(place, revision=revision or None)
    set_chat_template(tokenizer, settings["template"], LatentConfig(**settings).prompt_latents)
    return {"chat_template": tokenizer.chat_template}
