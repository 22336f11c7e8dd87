"""The step decoder: an auxiliary model that must read the written step back from its latents."""

import torch
from torch import nn
from transformers import AutoModelForCausalLM, PreTrainedModel

from latent_trainer.model.heads import token_losses
from latent_trainer.rollout.base_form import decoder_of
from latent_trainer.sharding import gathered


class StepDecoder(nn.Module):
    """Decode step k from latent group k, so that every latent has to hold its step.

    A row of the decoder reads ``z_1 .. z_c, token_1 .. token_n``; its loss is the cross-entropy of the tokens. The decoder
    is part of the model in training only.

    Args:
        base_config: configuration of the decoder, that of the base model.
        shared: use the base model's own weights; no second model in memory.

    Source: Wei et al. 2025, "SIM-CoT: Supervised Implicit Chain-of-Thought", section 3.
    """

    def __init__(self, base_config, shared: bool):
        super().__init__()
        self.decoder = None if shared else AutoModelForCausalLM.from_config(base_config)
        tied = {} if shared else self.decoder.all_tied_weights_keys
        # a tied head is saved once; the latent model asks its parts for these names to tie it again when it is loaded
        self.all_tied_weights_keys = {f"decoder.{name}": f"decoder.{source}" for name, source in tied.items()}

    def copy_weights(self, base: PreTrainedModel) -> None:
        """Start from the base model's weights."""
        if self.decoder is not None:
            self.decoder.to(device=base.device, dtype=base.dtype)
            own, given = list(self.decoder.parameters()), list(base.parameters())
            with gathered([*own, *given]):
                self.decoder.load_state_dict(base.state_dict())

    def forward(
        self, latents: torch.Tensor, steps: dict[str, torch.Tensor], base: PreTrainedModel, smoothing: float = 0.0
    ) -> torch.Tensor:
        """Return the cross-entropy (N,) of every token of every step.

        Args:
            latents: (B, T, H) input embeddings of whole rows, latents filled in.
            steps: ``input_ids``, ``attention_mask``, ``labels`` (R, n) and, per step, its ``row`` (R,) and the ``columns``
                (R, c) of its latents in ``latents``.
            base: the base model, decoder itself where the weights are shared.
            smoothing: of the labels (`latent_trainer.model.heads.cross_entropy`).
        """
        model = base if self.decoder is None else self.decoder
        thought = latents[steps["row"].unsqueeze(1), steps["columns"]]  # (R, c, H)
        embeds = torch.cat([thought, model.get_input_embeddings()(steps["input_ids"])], 1)  # (R, c + n, H)
        mask = torch.cat([torch.ones_like(steps["columns"]), steps["attention_mask"]], 1)
        hidden = decoder_of(model)(inputs_embeds=embeds, attention_mask=mask, use_cache=False).last_hidden_state
        width = steps["labels"].shape[1]
        scored = steps["labels"] != -100
        predicting = hidden[:, -width - 1 : -1][scored]  # (N, H): the column before each token
        return token_losses(model, predicting, steps["labels"][scored], smoothing)

    @torch.no_grad()
    def explain(self, latents: torch.Tensor, base: PreTrainedModel, max_new_tokens: int = 32) -> torch.Tensor:
        """Return the token ids (R, n) the decoder writes for latent groups (R, c, H)."""
        model = base if self.decoder is None else self.decoder
        return model.generate(
            inputs_embeds=latents,
            attention_mask=torch.ones(latents.shape[:2], dtype=torch.long, device=latents.device),
            max_new_tokens=max_new_tokens,
            do_sample=False,
        )
