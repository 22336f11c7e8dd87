"""Feedback: how the hidden state of one column becomes the input embedding of the next latent.

One file a feedback, one line below. A feedback is a `torch.nn.Module` built as ``cls(hidden_size, **options)``, where the
annotations of its constructor state type and range of every option (`latent_trainer.options`), with

- ``sequential``: whether its output depends on the hidden state (False: the latents need no cached steps), and
- ``forward(hidden, embed, head) -> (B, H)``: ``hidden`` (B, H) is the last hidden state after the final norm, ``embed``
  maps token ids to input embeddings, ``head`` maps hidden states to logits.
"""

from latent_trainer.methods.feedback.hidden import HiddenFeedback
from latent_trainer.methods.feedback.learned import LearnedFeedback
from latent_trainer.methods.feedback.projection import ProjectionFeedback
from latent_trainer.methods.feedback.soft import SoftFeedback

FEEDBACKS = {
    "hidden": HiddenFeedback,
    "learned": LearnedFeedback,
    "projection": ProjectionFeedback,
    "soft": SoftFeedback,
}
