"""The context: how many positions a model has, and a forward call that asks for more."""

from latent_trainer.errors import InputError

# Names under which configurations state it, most common first; transformers maps n_positions to the first where it can.
STATED = ("max_position_embeddings", "n_positions", "max_seq_len", "max_sequence_length", "seq_length", "n_ctx")
SCALED = ("linear", "dynamic", "yarn")  # rotary scalings whose factor may stretch the stated length


def context_length(config) -> int | None:
    """Return the tokens of the longest sequence a model is made for; None where nothing limits it.

    A sliding window limits what a column attends to, not how long a sequence may be. Biases that grow with the distance
    (ALiBi, Press et al. 2022: Bloom, Falcon with ``alibi``) know no last position, whatever length was trained on.

    Args:
        config: any causal language model's configuration; of a composite one the text model's part counts.
    """
    text = config.get_text_config()
    if text.model_type == "bloom" or getattr(text, "alibi", False):
        return None
    values = (getattr(text, name, None) for name in STATED)
    stated = next((value for value in values if value is not None and value > 0), None)  # XLNet's -1 stands for none
    rotary = _rotary(text)
    if stated is None or rotary.get("rope_type", rotary.get("type")) not in SCALED:
        return stated
    pretrained = rotary.get("original_max_position_embeddings") or stated
    return max(stated, int(pretrained * (rotary.get("factor") or 1)))


def _rotary(text) -> dict:
    """Return the settings of rotary positions, by layer type where layers differ; empty where positions are absolute."""
    return getattr(text, "rope_parameters", None) or getattr(text, "rope_scaling", None) or {}


def refuse_beyond(config, columns: int, *masks, cache=None, computed: bool = True) -> None:
    """Raise an `InputError` where rows are longer than the context.

    Padding has no position; only a call wider than the context is looked at more closely, which costs a device
    synchronisation.

    Args:
        config: as for `context_length`.
        columns: T of the call, without those in the cache.
        masks: attention masks (B, P + T) of the call and its continuations, 1 for real columns; None means all are.
        cache: of the P columns before.
        computed: let rotary positions, which can be computed beyond the context, pass as in the stock model.

    Raises:
        InputError: a row with more real columns than the model has positions.
    """
    limit = context_length(config)
    if limit is None or (computed and _rotary(config.get_text_config())):
        return
    if cache is not None and any(mask is None for mask in masks):
        columns += cache.get_seq_length()
    longest = max(columns if mask is None else _real(mask, limit) for mask in masks)
    if longest > limit:
        raise InputError(
            f"a row of {longest} tokens, latents included, is longer than the model's context of {limit}; "
            "shorten the text, or lower max_new_tokens or the number of latents"
        )


def _real(mask, limit: int) -> int:
    """Return the real columns of the longest row; the width where that is within the limit already."""
    return mask.shape[1] if mask.shape[1] <= limit else int(mask.sum(1).max())


def refuse_prompts(config, inputs: tuple, options: dict) -> None:
    """Raise an `InputError` where prompts alone are longer than the context, rotary positions or not.

    Args:
        config: as for `context_length`.
        inputs, options: arguments of ``generate``.

    Raises:
        InputError: a prompt longer than the context.
    """
    prompts = options.get("input_ids", options.get("inputs", inputs[0] if inputs else None))
    if prompts is not None:
        refuse_beyond(config, prompts.shape[1], options.get("attention_mask"), computed=False)
