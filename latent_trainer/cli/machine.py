"""What a machine lacks for a run that is meant for a larger one, said before anything starts."""

import re
from collections.abc import Iterator
from pathlib import Path

import torch
from huggingface_hub import constants

from latent_trainer.data.published import HUB

GPUS = re.compile(r"^# Hardware and time: (\d+) GPUs? of (\d+) GB", re.MULTILINE)
BY_FILE = {"prosqa": "data/prosqa_train.json and data/prosqa_test.json of facebookresearch/coconut"}


def lacking(headers: list[str], model: str, datasets: dict[str, str | None]) -> Iterator[str]:
    """Yield a line for everything that is not at hand: GPUs, the model, data.

    Args:
        headers: texts of the recipes that run; their headers say for which GPUs they are written.
        model: name or folder of the model that the first of them starts from.
        datasets: name of each data set that is read -> its local file, None where there is none.
    """
    wanted = [tuple(map(int, found.groups())) for header in headers if (found := GPUS.search(header))]
    if wanted:
        number, memory = max(number for number, _ in wanted), max(memory for _, memory in wanted)
        own = [torch.cuda.get_device_properties(at).total_memory / 1e9 for at in range(torch.cuda.device_count())]
        enough = [one for one in own if one >= 0.95 * memory]  # a card of 24 GB reports a little less or more
        if len(enough) < number:
            here = f"{len(enough)} of {number}" if own else "none"
            yield f"GPUs: {here}; the recipe is written for {number} of {memory} GB (fewer take longer)"
    if not Path(model).is_dir() and not cached("models", model):
        yield f"model: {model} is not on this machine; it is downloaded from the Hub (some models ask for a login)"
    for name, path in datasets.items():
        if path is not None and not Path(path).exists():
            yield f"data: {path} does not exist"
        elif path is None and name in BY_FILE:
            yield f"data: {BY_FILE[name]}; name them with --train_path and --test_path, or generated problems are taken"
        elif path is None and name in HUB and not cached("datasets", HUB[name].name):
            yield f"data: {name} is not on this machine; it is downloaded from the Hub ({HUB[name].name})"


def cached(kind: str, name: str) -> bool:
    """Return whether the Hub's cache has a repository.

    Args:
        kind: "models" or "datasets".
        name: of the repository.
    """
    return (Path(constants.HF_HUB_CACHE) / f"{kind}--{name.replace('/', '--')}").is_dir()
