"""`LatentForSequenceClassification`: one score a label for a whole row that thinks, such as a reward."""

from torch import nn
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from latent_trainer.compat import GenericForSequenceClassification
from latent_trainer.model.configuration import LatentConfig
from latent_trainer.model.modeling import LatentForCausalLM


class LatentForSequenceClassification(GenericForSequenceClassification, LatentForCausalLM):
    """A latent model whose last real column is scored by a linear layer.

    ``AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1)`` makes one of any saved latent model: all
    weights keep their names, and ``score`` is new. An output head of its own stays, frozen, because feedback may read it.

    Args:
        config: a `LatentConfig`; its ``num_labels`` says how many scores a row gets.
        base: the causal language model to wrap; by default a new one.
    """

    base_model_prefix = LatentForCausalLM.base_model_prefix

    def __init__(self, config: LatentConfig, base: PreTrainedModel | None = None):
        LatentForCausalLM.__init__(self, config, base)
        self.num_labels = config.num_labels
        self.score = nn.Linear(config.hidden_size, config.num_labels, bias=False)  # type: ignore[arg-type]  # a number once it is set
        if base is not None:
            self.score.to(device=base.device, dtype=base.dtype)
        head = self.get_output_embeddings()
        if head is not None and not config.tie_word_embeddings:
            head.requires_grad_(False)  # ranks that train together wait for a gradient of everything that takes one


AutoModelForSequenceClassification.register(LatentConfig, LatentForSequenceClassification)
