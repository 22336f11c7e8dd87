"""Models of the parity fixtures: their weights are given by formula, so no files are needed."""

import json

import torch
from conftest import shared_file
from transformers import AutoConfig, AutoModelForCausalLM

from latent_trainer import LatentForCausalLM

LATENT, BOT, EOT = 97, 98, 99


def read(files: dict[str, list[str]], name: str) -> dict:
    """Return one case, ``files`` saying which fixture holds which cases."""
    file = next(file for file, names in files.items() if name in names)
    return next(case for case in cases(file) if case["name"] == name)


def cases(file: str) -> list[dict]:
    """Return the cases of a fixture."""
    return json.loads(shared_file(f"parity/{file}").read_text())


def make(case: dict, ids: dict | None = None, **options) -> LatentForCausalLM:
    """Return the latent model of a case; ``ids`` are of its thought tokens, ``options`` those of ``from_base``."""
    config = AutoConfig.for_model(case["arch"], **case["model_config"], bos_token_id=0, eos_token_id=0)
    base = AutoModelForCausalLM.from_config(config).double()
    _fill(base, lambda index, places: 0.37 * index + 0.11 * places)
    ids = ids or {"latent_token_id": LATENT, "bot_token_id": BOT, "eot_token_id": EOT}
    model = LatentForCausalLM.from_base(base, **ids, **options)
    _fill(model.feedback, lambda index, places: 0.2 + 0.53 * index + 0.07 * places)
    return model


@torch.no_grad()
def _fill(module, phase) -> None:
    for index, (name, parameter) in enumerate(module.named_parameters()):
        values = 0.1 * torch.sin(phase(index, torch.arange(parameter.numel(), dtype=torch.float64)))
        shift = 1.0 if parameter.ndim == 1 and name.endswith("weight") else 0.0
        parameter.copy_(values.reshape(parameter.shape) + shift)
