"""The contract of feedback."""

import torch

from latent_trainer.methods.feedback import FEEDBACKS
from latent_trainer.model.configuration import check_feedback as checked_options
from latent_trainer.testing.steps import tiny_steps
from latent_trainer.testing.tiny import TOLERANCE, contract, make_tokenizer, other_seeds, require, tiny_base


def check_feedback(feedback: str | type, options: dict | None = None, **settings) -> None:
    """Require that a feedback keeps its contract: a row for a row, with a gradient, in the precision it is given.

    Args:
        feedback: a name, ``package.module:Class`` or the class.
        options: its options.
        settings: training arguments of the model it is tried in; by default a staged curriculum of sequential latents.

    Raises:
        AssertionError: with a sentence that says what is wrong.
    """
    with contract("feedback", feedback) as name:
        what, options = f"feedback '{name}'", checked_options(name, options or {})
        with other_seeds(0):
            module = FEEDBACKS[name](32, **options).double().eval()
        if module.sequential:
            _check_rows(what, module)
            _check_gradients(what, module)
            _check_precision(what, FEEDBACKS[name](32, **options).bfloat16().eval())
        with tiny_steps(what, feedback=name, feedback_options=options or None, **settings) as steps:
            steps.check()


def _inputs(dtype: torch.dtype = torch.float64) -> tuple:
    """Return hidden states (5, 32), and the embedding and the head of a tiny model."""
    base = tiny_base(len(make_tokenizer())).to(dtype)
    hidden = torch.randn(5, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).to(dtype)
    return hidden, base.get_input_embeddings(), base.get_output_embeddings()


@torch.no_grad()
def _check_rows(what: str, module: torch.nn.Module) -> None:
    hidden, embed, head = _inputs()
    given = hidden.clone()
    whole = module(hidden, embed, head)
    require(
        isinstance(whole, torch.Tensor) and whole.shape == hidden.shape,
        f"{what} returns {tuple(getattr(whole, 'shape', ())) or whole!r} for hidden states (5, 32); return one latent a row",
    )
    require(bool(torch.isfinite(whole).all()), f"{what} returns numbers that are not finite")
    require(torch.equal(hidden, given), f"{what} changes the hidden states it is given; work on a copy")
    require(
        torch.equal(module(hidden, embed, head), whole),
        f"{what} returns other latents in evaluation when it is called again; draw at random only if self.training is set",
    )
    alone = torch.cat([module(row, embed, head) for row in hidden.split(1)])
    require(
        bool(((alone - whole).abs() <= TOLERANCE * whole.abs().max()).all()),
        f"{what} gives a row another latent alone than among other rows; let no row depend on the rows beside it",
    )
    require(
        bool((whole[0] - whole[1]).abs().max() > 0),
        f"{what} gives two different hidden states the same latent; say sequential = False where it does not look at them",
    )


def _check_gradients(what: str, module: torch.nn.Module) -> None:
    hidden, embed, head = _inputs()
    hidden.requires_grad_()
    latent = module(hidden, embed, head)
    require(latent.requires_grad, f"{what} returns latents without a gradient; do not detach them")
    taught = module.distribution(hidden) if hasattr(module, "distribution") else ()
    sum(one.square().sum() for one in (latent, *taught)).backward()
    require(
        hidden.grad is not None and bool(hidden.grad.abs().sum() > 0),
        f"{what} gives no gradient back to the hidden states; do not detach them",
    )
    for name, parameter in module.named_parameters():
        require(
            parameter.grad is not None and bool(parameter.grad.abs().sum() > 0),
            f"{what}: its weight {name} gets no gradient; use it, or make it no parameter",
        )


@torch.no_grad()
def _check_precision(what: str, module: torch.nn.Module) -> None:
    found = module(*_inputs(torch.bfloat16)).dtype
    require(
        found == torch.bfloat16, f"{what} returns {found} for hidden states in torch.bfloat16; return what it was given in"
    )
