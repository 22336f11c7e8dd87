"""Feedback: how the hidden state of one column becomes the input embedding of the next latent.

One file a feedback, one line below. A feedback is a `torch.nn.Module` built as ``cls(hidden_size, **options)``, where the
annotations of its constructor state type and range of every option (`latent_trainer.options`), with

- ``sequential``: whether its output depends on the hidden state (False: the latents need no cached steps),
- ``looks_up_tokens``: whether it looks up embeddings of tokens of its own, which noise on embeddings would spoil; a feedback
  that does not say so is taken to,
- ``mixes_tokens``, if it likes: True where its latents are mixtures of token embeddings,
- ``mix(hidden, tokens, embed, head) -> (B, H)``, if it likes: its latents with tokens (B,) that a policy has drawn, and
- ``forward(hidden, embed, head) -> (B, H)``: ``hidden`` (B, H) is the last hidden state after the final norm, ``embed``
  maps token ids to input embeddings, ``head`` maps hidden states to logits.

One that predicts a distribution of the next embedding has besides, for an objective that teaches it,

- ``distribution(hidden) -> (mean, log_std)``, both (.., H), and
- ``unit(embed, device)``: the number that both are multiples of.
"""

import inspect

from torch import nn

from latent_trainer.errors import InputError
from latent_trainer.methods.feedback.fused import FusedFeedback
from latent_trainer.methods.feedback.gated import GatedFeedback
from latent_trainer.methods.feedback.gaussian import GaussianFeedback
from latent_trainer.methods.feedback.hidden import HiddenFeedback
from latent_trainer.methods.feedback.learned import LearnedFeedback
from latent_trainer.methods.feedback.projection import ProjectionFeedback
from latent_trainer.methods.feedback.soft import SoftFeedback
from latent_trainer.registry import Registry


def take_feedback(name: str, entry) -> type[nn.Module]:
    """Return a feedback that a plug-in registers, an `InputError` in one line where it keeps not to the contract."""
    if not (isinstance(entry, type) and issubclass(entry, nn.Module)):
        raise InputError(f"feedback '{name}' must be a class derived from torch.nn.Module; got {entry!r}")
    if not isinstance(getattr(entry, "sequential", None), bool):
        raise InputError(f"feedback '{name}': {entry.__name__} must say sequential = True or False in its class")
    if "hidden_size" not in inspect.signature(entry).parameters:
        raise InputError(f"feedback '{name}': {entry.__name__}.__init__ must take hidden_size")
    if entry.forward is nn.Module.forward or len(inspect.signature(entry.forward).parameters) != 4:
        raise InputError(f"feedback '{name}': {entry.__name__} must define forward(self, hidden, embed, head)")
    return entry


FEEDBACKS = Registry(
    "feedback",
    {
        "fused": FusedFeedback,
        "gated": GatedFeedback,
        "gaussian": GaussianFeedback,
        "hidden": HiddenFeedback,
        "learned": LearnedFeedback,
        "projection": ProjectionFeedback,
        "soft": SoftFeedback,
    },
    take_feedback,
)
