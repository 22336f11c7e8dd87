"""What the checks are made of: uneven problems, a tokenizer that writes them, a tiny model in float64."""

import random
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FunctionType

import torch
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerBase

from latent_trainer.data.problem import Problem
from latent_trainer.data.tokenizer import train_tokenizer
from latent_trainer.errors import InputError
from latent_trainer.model.modeling import LatentForCausalLM
from latent_trainer.plugins import registry

TOLERANCE = 1e-8  # relative, of float64


def require(holds: bool, sentence: str) -> None:
    """Raise an `AssertionError` with a sentence unless something holds."""
    if not holds:
        raise AssertionError(sentence)


@contextmanager
def contract(kind: str, entry) -> Iterator[str]:
    """Give the name of what is checked, registered meanwhile where it is not; what is refused fails the check."""
    added = name = None
    try:
        names = registry(kind)
        if isinstance(entry, str):
            names.choose(kind, entry)
            name = entry
        else:
            name = next((name for name in names if names[name] is entry), None)
        if name is None:
            own = entry.__name__.strip("<>") if isinstance(entry, type | FunctionType) else kind
            name = added = f"checked-{own}"
            names.register(name, entry)
        yield name
    except AssertionError:
        raise
    except InputError as error:
        says = str(error)
        raise AssertionError(says if says.startswith(kind) else f"{kind}: {says}") from error
    except Exception as error:  # code of a plug-in may fail in any way
        raise AssertionError(f"{kind} '{name or entry}' fails: {_where(error)}") from error
    finally:
        if added is not None and added in names:
            names.forget(added)


def _where(error: Exception) -> str:
    """Return in one line what an error says and where it arose."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    says = " ".join(str(error).split())
    return f"{type(error).__name__}: {says} ({Path(last.filename).name}, line {last.lineno})"


@contextmanager
def other_seeds(seed: int) -> Iterator[None]:
    """Set the global random sources meanwhile, which nothing that is checked may depend on."""
    state, own = random.getstate(), torch.random.get_rng_state()
    random.seed(seed)
    torch.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(state)
        torch.random.set_rng_state(own)


def uneven_problems(number: int) -> list[Problem]:
    """Return problems with one to four steps of one to three words, and questions of one to five words."""
    return [
        Problem(
            question=" ".join(str((row + word) % 10) for word in range(1 + row % 5)),
            steps=tuple(" ".join(["+", str(row % 10), str(step)][: 1 + (row + step) % 3]) for step in range(1 + row % 4)),
            answer=str(row % 7),
            id=str(row),
        )
        for row in range(number)
    ]


def make_tokenizer() -> PreTrainedTokenizerBase:
    """Return a tokenizer that writes `uneven_problems`; it has no thought tokens yet."""
    return train_tokenizer(["= + 0 1 2 3 4 5 6 7 8 9"])


def tiny_base(vocab_size: int, **changes) -> GPT2LMHeadModel:
    """Return a GPT-2 of two layers in float64, whose choices depend on everything before them; always the same one."""
    size = {"n_positions": 128, "n_embd": 32, "n_layer": 2, "n_head": 4, "bos_token_id": 0, "eos_token_id": 0}
    no_dropout = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0)
    config = GPT2Config(vocab_size=vocab_size, **size, **no_dropout, **changes)
    with other_seeds(0):
        base = GPT2LMHeadModel(config).double()
    with torch.no_grad():
        for parameter in base.parameters():
            if parameter.ndim > 1:
                parameter.mul_(10)
    return base


def tiny_model(tokenizer: PreTrainedTokenizerBase, attention: str = "sdpa", **settings) -> LatentForCausalLM:
    """Return a latent model over `tiny_base`; the tokenizer gets the thought tokens."""
    base = tiny_base(len(tokenizer), attn_implementation=attention)
    with other_seeds(0):
        return LatentForCausalLM.from_base(base, tokenizer, **settings)
