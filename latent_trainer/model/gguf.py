"""Base models that lie in a GGUF file: found by name, unpacked once, plain weights from then on."""

import os
import struct
from pathlib import Path

from transformers import AutoModelForCausalLM, GgufConfig, PreTrainedModel
from transformers.utils import CONFIG_NAME, is_gguf_available

from latent_trainer.errors import InputError

SUFFIX = ".gguf"


def names_file(name: str) -> bool:
    """Return whether a name ends as that of a GGUF file, in whatever case."""
    return name.lower().endswith(SUFFIX)


def located(name: str | os.PathLike, gguf_file: str | None = None) -> tuple[str, str | None]:
    """Return the folder or repository of a model, and the GGUF file in it that holds the weights, None for any other model.

    Args:
        name: a folder, a Hub name, ``FOLDER/NAME.gguf``, ``org/repo:NAME.gguf``, or a folder with one GGUF file and no
            other model.
        gguf_file: the file, where ``name`` does not say it.

    Raises:
        InputError: two files are named, a folder holds several, the ending is another, or the package ``gguf`` is
            not installed.
    """
    name = os.fspath(name)
    place, file = name, None
    if names_file(name):
        place, colon, file = name.rpartition(":")
        if not colon or Path(name).is_file():
            place, file = str(Path(name).parent), Path(name).name
    elif Path(name).is_dir() and not (Path(name) / CONFIG_NAME).exists():
        files = sorted(path.name for path in Path(name).iterdir() if names_file(path.name))
        if len(files) > 1 and gguf_file is None:
            raise InputError(f"'{name}' holds several GGUF files; name one: {name}/{files[0]}")
        file = files[0] if len(files) == 1 else None
    if gguf_file is not None and file not in (None, gguf_file):
        raise InputError(f"'{name}' names {file} and gguf_file={gguf_file} another; leave one out")
    file = gguf_file or file
    if file is not None and not file.endswith(SUFFIX):  # transformers would take it for a pickle
        raise InputError(f"a GGUF file is told by its ending {SUFFIX}, and '{file}' has another; rename or link it")
    if file is not None and not is_gguf_available():
        raise InputError(f"reading {file} needs the package gguf; pip install 'latent_trainer[gguf]'")
    return place, file


def named(name: str, gguf_file: str | None = None) -> str:
    """Return the one name that says both where a model lies and which GGUF file it is; ``name`` for any other model."""
    place, file = located(name, gguf_file)
    if file is None:
        return name
    return str(Path(place) / file) if Path(place).is_dir() else f"{place}:{file}"


def file_options(name: str, options: dict) -> tuple[str, dict]:
    """Return the name and the keyword arguments by which ``from_pretrained`` finds a configuration or a tokenizer.

    Args:
        name: as in `located`.
        options: keyword arguments of ``from_pretrained``, perhaps with a ``gguf_file``.
    """
    options = dict(options)
    place, file = located(name, options.pop("gguf_file", None))
    return place, options if file is None else {**options, "gguf_file": file}


def load_base(name: str, **options) -> PreTrainedModel:
    """Load a causal language model from safetensors or from a GGUF file; a GGUF file is unpacked to plain weights.

    Args:
        name: as in `located`.
        options: keyword arguments of ``AutoModelForCausalLM.from_pretrained``, perhaps with a ``gguf_file``.

    Raises:
        InputError: as in `located`, or an architecture that transformers does not read from GGUF files.
    """
    options = {"use_safetensors": True, **options}  # weights in a pickle are never opened unless somebody insists
    place, options = file_options(name, options)
    if "gguf_file" not in options:
        return AutoModelForCausalLM.from_pretrained(place, **options)
    file = options["gguf_file"]
    try:
        base = AutoModelForCausalLM.from_pretrained(place, quantization_config=GgufConfig(dequantize=True), **options)
    except (ValueError, LookupError, struct.error) as error:  # an architecture it does not know, or no whole GGUF file
        raise InputError(f"cannot read {file}: {' '.join(str(error).split())[:200]}") from None
    base.hf_quantizer = None  # the weights are plain now, and can be saved
    vars(base.config).pop("quantization_config", None)
    base.config.name_or_path = named(place, file)
    return base
