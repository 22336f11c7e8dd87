"""The contracts of probes and controls: what is measured of latents, and what takes their place."""

import json
import math
import tempfile

import torch
from matplotlib.figure import Figure

from latent_trainer.analysis import PROBES, Subject
from latent_trainer.analysis.traces import collect
from latent_trainer.data import CONTINUATIONS, as_problems, load_problems
from latent_trainer.data.tokenizer import train_tokenizer
from latent_trainer.evaluation.controls import CONTROLS
from latent_trainer.testing.tiny import contract, other_seeds, require, tiny_model, uneven_problems

PROBLEMS, LATENTS = 40, 2


def check_probe(probe) -> None:
    """Require that a probe keeps its contract: numbers a record can hold, the same every time, and figures of them.

    Args:
        probe: a name, ``package.module:probe``, a `Probe` or the function that measures.

    Raises:
        AssertionError: with a sentence that says what is wrong.
    """
    with contract("probe", probe) as name, tempfile.TemporaryDirectory() as folder:
        what, probe = f"probe '{name}'", PROBES[name]
        subject = _subject(folder)
        before = {key: tensor.clone() for key, tensor in subject.model.state_dict().items()}
        with other_seeds(1):
            result = probe.measure(subject)
        with other_seeds(2):
            again = probe.measure(subject)
        require(isinstance(result, dict), f"{what} returns {type(result).__name__}; return a dictionary of numbers")
        _check_numbers(what, result)
        require(
            json.dumps(result) == json.dumps(again),
            f"{what} returns other numbers when it measures again; draw from subject.seed alone",
        )
        after = subject.model.state_dict()
        require(
            all(torch.equal(tensor, after[key]) for key, tensor in before.items()), f"{what} changes the model's weights"
        )
        for draw in probe.figures.values():
            figure = Figure()
            draw(json.loads(json.dumps(result)), figure)
            require(bool(figure.axes), f"{what} draws an empty figure")


def _subject(folder: str) -> Subject:
    """Return traces of a tiny model, with attention."""
    problems = as_problems(load_problems("arithmetic", "test", size=PROBLEMS, operations=LATENTS))
    tokenizer = train_tokenizer([" ".join([one.question, *one.steps, "###", one.answer]) for one in problems])
    model = tiny_model(tokenizer, attention="eager").eval()
    traces = collect(model, tokenizer, problems, LATENTS, "coconut", folder, attention=True)
    return Subject(traces, model, tokenizer, continued=CONTINUATIONS["arithmetic"], most=10)


def _check_numbers(what: str, value, at: str = "") -> None:
    """Require nested numbers, texts and None, as JSON has them."""
    if isinstance(value, dict):
        require(all(isinstance(key, str) for key in value), f"{what}{at} has keys that are no texts; make them texts")
        for key, one in value.items():
            _check_numbers(what, one, f"{at}, {key}")
    elif isinstance(value, list | tuple):
        for one in value:
            _check_numbers(what, one, at)
    else:
        plain = value is None or isinstance(value, str | bool | int | float)
        require(plain, f"{what}{at} is {type(value).__name__}; return plain numbers, which a record can hold")
        require(
            not isinstance(value, float) or math.isfinite(value), f"{what}{at} is {value}; return None where there is none"
        )


def check_control(control) -> None:
    """Require that a control keeps its contract: other latents of the same shape, the same for the same seed.

    Args:
        control: a name, ``package.module:function`` or the function.

    Raises:
        AssertionError: with a sentence that says what is wrong.
    """
    with contract("control", control) as name:
        what, control = f"control '{name}'", CONTROLS[name]
        problems = uneven_problems(6)
        latents = torch.randn(6, 3, 8, generator=torch.Generator().manual_seed(1))
        given = latents.clone()
        with other_seeds(1):
            found = control(latents, problems, 0)
        with other_seeds(2):
            again = control(latents, problems, 0)
        require(torch.equal(latents, given), f"{what} changes the latents it is given; return new ones")
        require(
            isinstance(found, torch.Tensor) and found.shape == latents.shape and found.dtype == latents.dtype,
            f"{what} returns {getattr(found, 'shape', found)} for latents (6, 3, 8); return as many of the same precision",
        )
        require(bool(torch.isfinite(found).all()), f"{what} returns numbers that are not finite")
        require(torch.equal(found, again), f"{what} returns other latents for the same seed; draw from seed alone")
        require(not torch.equal(found, latents), f"{what} returns the latents as they were, so it controls nothing")
