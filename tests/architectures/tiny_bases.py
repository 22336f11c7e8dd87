"""A tiny base model of every type in transformers' causal mapping, from its own configuration class.

Sizes go by the names of the fields, which families share; what a family needs beyond that is in `SPECIAL`. Scalings and caps
get values that show, so that a head or an embedding that leaves them out is wrong by a factor.
"""

import dataclasses

import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, PreTrainedConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

TYPES = sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
VOCABULARY = 100
LATENT, BOT, EOT = 97, 98, 99
LARGEST = 50_000_000  # parameters of what counts as tiny

HIDDEN = ("hidden_size", "d_model", "n_embd", "emb_dim", "out_hidden_size", "text_hidden_size", "lru_width")
LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "decoder_layers", "encoder_layers", "depth")
LAYERS += ("num_encoder_layers", "num_decoder_layers", "num_blocks")
HEADS = ("num_attention_heads", "n_head", "n_heads", "num_heads", "decoder_attention_heads", "encoder_attention_heads")
HEADS += ("num_decoder_attention_heads", "num_encoder_attention_heads", "attention_heads", "swa_num_attention_heads")
WIDE = (
    "intermediate_size",
    "moe_intermediate_size",
    "decoder_ffn_dim",
    "encoder_ffn_dim",
    "ffn_dim",
    "dff",
    "dim_ff",
    "d_inner",
)
WIDE += (
    "ffn_hidden_size",
    "expert_ffn_hidden_size",
    "intermediate_size_mlp",
    "dense_intermediate_size",
    "feed_forward_size",
)
WIDE += ("shared_expert_intermediate_size", "shared_experts_intermediate_size", "shared_intermediate_size")
WIDE += ("moe_shared_expert_intermediate_size", "prefix_dense_intermediate_size", "hidden_dim")
EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts", "num_routed_experts")
CHOSEN = ("num_experts_per_tok", "num_experts_per_token", "moe_topk", "moe_top_k", "moe_k", "top_k_experts")
LENGTH = ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "context_length", "max_target_positions")
LENGTH += ("max_source_positions", "original_max_position_embeddings", "position_bias_max_distance")
WINDOW = ("sliding_window", "sliding_window_size", "attention_window_size", "window_size", "attention_chunk_size")
WINDOW += ("local_attention", "local_attention_window_len")
SIZES = {
    **dict.fromkeys(HIDDEN, 32),
    **dict.fromkeys(LAYERS, 4),
    **dict.fromkeys(HEADS, 4),
    **dict.fromkeys(WIDE, 48),
    **dict.fromkeys(EXPERTS, 4),
    **dict.fromkeys(CHOSEN, 2),
    **dict.fromkeys(LENGTH, 128),
    **dict.fromkeys(WINDOW, 8),
    "num_key_value_heads": 2,
    "swa_num_key_value_heads": 2,
    "num_kv_heads": 2,
    "head_dim": 8,
    "dim_head": 8,
    "swa_head_dim": 8,
    "attention_head_size": 8,
    "kv_channels": 8,
    "kv_lora_rank": 16,
    "q_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
    "rotary_dim": 4,
    "n_group": 1,
    "topk_group": 1,
    "index_n_heads": 2,
    "index_head_dim": 8,
    "index_topk": 64,
    "first_k_dense_replace": 1,
    "mamba_n_heads": 8,
    "mamba_num_heads": 8,
    "n_mamba_heads": 2,
    "mamba_head_dim": 8,
    "mamba_d_state": 8,
    "mamba_d_ssm": 64,
    "mamba_chunk_size": 16,
    "chunk_size": 16,
    "ssm_state_size": 8,
    "state_size": 8,
    "n_groups": 2,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_num_heads": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "linear_head_dim": 8,
    "hidden_size_per_layer_input": 8,
    "vocab_size_per_layer_input": VOCABULARY,
    "laurel_rank": 8,
    "embedding_size": 32,
    "input_embedding_size": 24,
    "output_embedding_size": 24,
    "o_lora_rank": 16,
    "o_groups": 2,
    "gated_norm_rank": 8,
    "zero_expert_num": 2,
    "block_multiple_of": 16,
    "adapter_rank": 8,
    "router_hidden_size": 16,
    "block_size": 8,
    "pretraining_tp": 1,
    "attention_hidden_size": 32,
    "rel_extent": 16,
    "d_rel": 8,
    "num_local_blocks": 1,
    "time_step_rank": 4,
    "mamba_dt_rank": 4,
    "project_dim": 32,
    "hc_lowrank": 8,
    "ngram_vocab_size_base": 50,
    "split_ngram_parts": 1,
    "make_ngram_vocab_size_divisible_by": 2,
    "heads_per_ngram": 2,
    "centroid_intermediate_top_k": 2,
    "num_centroids": 4,
    "backbone_hidden_size": 32,
    "image_size": 28,
    "num_channels": 3,
    "patch_size": 14,
    "num_mtp_layers": 0,
    "num_nextn_predict_layers": 0,
    "query_pre_attn_scalar": 8,
    "audio_vocab_size": VOCABULARY,
    "embedding_multiplier": 1.5,
    "logits_scaling": 2.0,
    "logit_scale": 0.5,
    "residual_multiplier": 0.7,
    "lm_head_multiplier": 0.25,
    "key_multiplier": 0.8,
    "final_logit_softcapping": 5.0,
    "logits_soft_cap": 5.0,
    "output_logit_soft_cap": 5.0,
    "logits_mup_width_multiplier": 3.0,
    "max_window_layers": 2,
    "sliding_window_pattern": 2,
    "global_attn_every_n_layers": 2,
    "layer_group_size": 2,
    "num_kv_shared_layers": 0,
    "n_shared_experts": 1,
    "prompt_length": 4,
    "prompt_types": 2,
    "segment_types": 2,
}
ALTERNATING = {"layer_types": ["sliding_attention", "full_attention"], **dict.fromkeys(LAYERS, 2)}
LINEAR = {"layer_types": ["linear_attention", "full_attention"], **dict.fromkeys(LAYERS, 2)}
ROPE = {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [1, 1, 2]}
VISION = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 4, "image_size": 28}
SPECIAL = {
    **dict.fromkeys(
        ("gemma3", "gemma3_text", "gemma4", "gemma4_text", "gemma4_unified", "gemma4_unified_text"), ALTERNATING
    ),
    **dict.fromkeys(("gemma2", "cohere2", "gpt_oss", "olmo3", "exaone4", "ministral", "beam", "laguna"), ALTERNATING),
    **dict.fromkeys(("qwen3_next", "qwen3_5_text", "qwen3_5_moe_text", "qwen3_5", "qwen3_5_moe", "olmo_hybrid"), LINEAR),
    "granitemoehybrid": {"layer_types": ["mamba", "attention"], **dict.fromkeys(LAYERS, 2)},
    "kimi_linear": LINEAR,
    "gemma3n_text": {**ALTERNATING, "activation_sparsity_pattern": [0.0, 0.0]},
    "cohere_compass_text": {**ALTERNATING, "more": {"rope_parameters": dict.fromkeys(ALTERNATING["layer_types"], ROPE)}},
    "dbrx": {"more": {"attn_config": {"rope_theta": 10_000.0, "kv_n_heads": 2, "clip_qkv": 8.0}}},
    "gemma3": {**ALTERNATING, "mm_tokens_per_image": 4, "more": {"vision_config": VISION}},
    "dots3_note_text": {
        **dict.fromkeys(LAYERS, 4),
        "more": {
            "swa_num_attention_heads": 4,
            "swa_num_key_value_heads": 4,
            "swa_q_lora_rank": 16,
            "swa_kv_lora_rank": 16,
            "swa_head_dim": 16,
            "swa_qk_nope_head_dim": 8,
            "swa_qk_rope_head_dim": 8,
            "swa_v_head_dim": 8,
        },
    },
    "electra": dict.fromkeys(LAYERS, 2),
    "lfm2_moe": {"layer_types": ["conv", "full_attention", "conv", "full_attention"]},
    "nemotron_h": {"time_step_min": 1e-9},  # stock clamps time steps to it in passes of several columns, not of one
    "xmod": {"default_language": "en_XX"},
    "zaya": {"num_experts_per_tok": 1},
    "bamba": {"attn_layer_indices": [1], **dict.fromkeys(LAYERS, 2)},
    "big_bird": {"attention_type": "original_full"},
    "bigbird_pegasus": {"attention_type": "original_full"},
    "gpt_neo": {"attention_types": [[["global", "local"], 2]], "intermediate_size": 48},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1, **dict.fromkeys(LAYERS, 2)},
    "lfm2": {"layer_types": ["conv", "full_attention"], **dict.fromkeys(LAYERS, 2)},
    "reformer": {
        "attn_layers": ["local", "lsh", "local", "lsh"],
        "axial_pos_shape": (8, 16),
        "axial_pos_embds_dim": (8, 24),
        "is_decoder": True,
    },
    "mamba2": {"num_heads": 8},
    "moshi": dict.fromkeys(WINDOW, 64),  # stock masks columns that its cache has forgotten
    "roberta": {"max_position_embeddings": 130},
    "zamba": {"attention_hidden_size": 64, "attention_head_dim": 16, "attn_layer_period": 2, "attn_layer_offset": 1},
    "zamba2": {"layers_block_type": ["mamba", "hybrid", "mamba", "hybrid"], "n_mamba_heads": 8, "time_step_min": 1e-9},
    "recurrent_gemma": {"block_types": ["recurrent", "attention"]},
}
PARTS = {"text_config", "decoder", "decoder_config", "encoder_config", "global_config", "patcher_config"}


def configuration(kind: str, window: int | None = None) -> PreTrainedConfig:
    """Return the tiny configuration of a model type; ``window`` replaces the 8 columns of a model that looks back less."""
    sizes = {**SIZES, **(dict.fromkeys(WINDOW, window) if window else {}), **SPECIAL.get(kind, {})}
    config = _shrunk(CONFIG_MAPPING[kind], sizes)
    text = config.get_text_config()
    lists = [getattr(text, name, None) or [] for name in ("layer_types", "mlp_layer_types", "layers_block_type")]
    if kind not in SPECIAL and all(len(set(kinds)) < 2 for kinds in lists):  # all layers alike: two are enough
        return _shrunk(CONFIG_MAPPING[kind], {**sizes, **dict.fromkeys(LAYERS, 2)})
    return config


def _shrunk(config_class, sizes: dict) -> PreTrainedConfig:
    fields = [field for field in dataclasses.fields(config_class) if field.init]
    names = {field.name for field in fields}
    settings = {"vocab_size": VOCABULARY, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    for field in fields:
        name, default = field.name, field.default
        if name in config_class.sub_configs:
            part = config_class.sub_configs[name]
            if dataclasses.is_dataclass(part) and part is not PreTrainedConfig:
                settings[name] = _shrunk(part, sizes).to_dict()
        elif name in sizes:
            if not (default is None and name in ("final_logit_softcapping", "sliding_window", "logit_scale")):
                settings[name] = sizes[name]
        elif name in ("layer_types", "mlp_layer_types", "layers_block_type") and name in sizes:
            settings[name] = sizes[name]
        elif isinstance(default, float) and (
            "dropout" in name or "pdrop" in name or "jitter" in name or "layerdrop" in name
        ):
            settings[name] = 0.0
    if "qk_nope_head_dim" in names:  # every head has keys of its own
        settings["num_key_value_heads"] = 4
    settings = {name: value for name, value in settings.items() if name in names}
    for name in ("is_decoder",):
        if name in names:
            settings[name] = True
    return config_class(**{**settings, **sizes.get("more", {})})


def base_model(kind: str, window: int | None = None, seed: int = 0) -> torch.nn.Module:
    """Return a random model of a type in evaluation mode, with weights large enough for every part to matter."""
    config = configuration(kind, window)
    for part in (config, config.get_text_config()):
        part.bos_token_id, part.eos_token_id, part.pad_token_id = 1, 2, 0
    with torch.device("meta"):
        size = AutoModelForCausalLM.from_config(config).num_parameters()
    if size > LARGEST:
        raise ValueError(f"no tiny configuration is known: {size} parameters")
    torch.manual_seed(seed)
    base = AutoModelForCausalLM.from_config(config, attn_implementation="eager", experts_implementation="eager").eval()
    with torch.no_grad():
        for parameter in base.parameters():
            if parameter.ndim == 2 and min(parameter.shape) > 2:
                parameter.normal_(std=parameter.shape[-1] ** -0.5)
            elif parameter.is_floating_point():
                parameter.add_(torch.randn_like(parameter) * 0.1)
    return base
