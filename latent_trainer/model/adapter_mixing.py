"""Mixtures of adapters: PEFT mixes the layers' updates, and here the rows of the thought tokens follow."""

import torch
from peft import PeftModel
from peft.utils import TrainableTokensWrapper

from latent_trainer.errors import InputError

UNMIXED = ("use_dora", "use_rslora", "lora_bias")  # PEFT 0.19 mixes their layers without a word, and wrongly


@torch.no_grad()
def add_weighted_adapter(
    model: PeftModel,
    adapters: list[str],
    weights: list[float],
    adapter_name: str,
    combination_type: str = "linear",
    **kwargs,
) -> None:
    """Add an adapter that is a weighted sum of others, as PEFT's method of this name does, token rows and all.

    PEFT's own method gives the mixture the base model's rows. Here a row of the vocabulary becomes
    ``base + sum_i weight_i (row_i - base)``, so that a mixture with the weights 1 and 0 is the first adapter.

    Args:
        model: a latent model with the adapters.
        adapters: names of N of them, which train the rows of the same tokens.
        weights: N numbers.
        adapter_name: the new adapter's name.
        combination_type: how PEFT mixes the layers' updates; rows are mixed linearly whatever it is.
        kwargs: passed on to PEFT's method.

    Raises:
        InputError: the adapters train the rows of different tokens, one is not there or of a kind that PEFT mixes wrongly,
            the new one is there already, or there are more weights than adapters or fewer.
        ValueError: PEFT cannot mix them, adapters with parts that are trained whole for one.
    """
    known = sorted(model.peft_config)
    unknown = next((name for name in adapters if name not in known), None)
    if unknown is not None:
        raise InputError(f"adapters: '{unknown}' is not among the model's: {', '.join(known)}")
    if adapter_name in known:  # PEFT would leave it as it is, without a word
        raise InputError(f"adapter_name='{adapter_name}' is an adapter of the model already; choose another name")
    if len(weights) != len(adapters) or not adapters:
        raise InputError(
            f"weights has {len(weights)} numbers for {len(adapters)} adapters; give one for each of at least one"
        )
    for name in adapters:
        lost = next((one for one in UNMIXED if getattr(model.peft_config[name], one, False)), None)
        if lost is not None:
            raise InputError(f"adapter '{name}' has {lost}, which PEFT leaves out of a mixture; mix adapters without it")
    tables = [module.token_adapter for module in model.modules() if isinstance(module, TrainableTokensWrapper)]
    tables = [table for table in tables if table.tied_adapter is None]  # a tied head reads the embedding's rows
    for table in tables:
        rows = [table.token_indices.get(name) for name in adapters]
        other = next((name for name, own in zip(adapters, rows, strict=True) if own != rows[0]), None)
        if other is not None:
            raise InputError(
                f"adapters '{adapters[0]}' and '{other}' train rows of different tokens; mix adapters of the same"
            )
    model.add_weighted_adapter(adapters, weights, adapter_name=adapter_name, combination_type=combination_type, **kwargs)
    for table in tables:
        if adapters[0] not in table.token_indices:
            continue  # none of them trains rows
        base = table.base_layer.weight[table.token_indices[adapters[0]]]  # (tokens, H)
        moves = (
            weight * (table.trainable_tokens_delta[name] - base) for name, weight in zip(adapters, weights, strict=True)
        )
        table.trainable_tokens_delta[adapter_name].copy_(base + sum(moves))
