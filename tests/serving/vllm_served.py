"""Tiny models, uneven prompts and what our own ``generate()`` answers: what every test of vLLM compares with."""

import os

# read by vLLM when it is imported; one process, so that a test can start an engine in seconds
os.environ.update(
    VLLM_CPU_OMP_THREADS_BIND="nobind",
    VLLM_CPU_KVCACHE_SPACE="1",
    VLLM_ENABLE_V1_MULTIPROCESSING="0",
    VLLM_LOGGING_LEVEL="WARNING",
    VLLM_NO_USAGE_STATS="1",
    OMP_NUM_THREADS="1",
    HF_HUB_OFFLINE="1",
)

import gc
import random
from contextlib import contextmanager
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerBase

from latent_trainer import LatentForCausalLM, encode_prompts
from latent_trainer.data.tokenizer import train_tokenizer

SHAPES = {  # heads of 32, the least that vLLM's attention on CPU knows
    "gpt2": {"n_embd": 64, "n_layer": 2, "n_head": 2, "n_positions": 192},
    "llama": {
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 32,
        "max_position_embeddings": 192,
    },
}
FEEDBACKS = ("hidden", "projection", "soft", "learned")
NEW_TOKENS, PROBLEMS, MOST_LATENTS = 12, 64, 12
WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "plus", "minus", "times", "is"]


def make_model(
    folder: Path, shape: str, feedback: str, options: dict | None = None, **settings
) -> tuple[LatentForCausalLM, PreTrainedTokenizerBase]:
    """Save a latent model whose choices depend on everything before them; return it and its tokenizer."""
    tokenizer = train_tokenizer([" ".join(WORDS)])
    torch.manual_seed(0)
    config = AutoConfig.for_model(shape, vocab_size=len(tokenizer), bos_token_id=0, eos_token_id=0, **SHAPES[shape])
    base = AutoModelForCausalLM.from_config(config, attn_implementation="eager").float().eval()
    model = LatentForCausalLM.from_base(base, tokenizer, feedback=feedback, feedback_options=options).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(6)
        head = model.get_output_embeddings().weight
        if settings.get("open_thought"):  # its row begins as the mean of all, which is never the likeliest
            head[model.config.eot_token_id] = 4 * head.std() * torch.randn(head.shape[1])
    for name, value in settings.items():
        setattr(model.config, name, value)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return model, tokenizer


def prompts_of(tokenizer: PreTrainedTokenizerBase, number: int = PROBLEMS) -> list[list[int]]:
    """Return prompts of 4 to 60 words, every one with its own number of latents from 0 to 12."""
    rng = random.Random(0)
    return [
        encode_prompts([" ".join(rng.choices(WORDS, k=rng.randint(4, 60)))], tokenizer, row % (MOST_LATENTS + 1))[
            "input_ids"
        ][0].tolist()
        for row in range(number)
    ]


@torch.no_grad()
def ours(model: LatentForCausalLM, prompts: list[list[int]], **options) -> list[list[int]]:
    """Return what our own ``generate()`` writes after each prompt, all of them in one left-padded batch."""
    width = max(map(len, prompts))
    ids = torch.tensor([[0] * (width - len(row)) + row for row in prompts])  # (B, T)
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in prompts])
    options = {"max_new_tokens": NEW_TOKENS, "min_new_tokens": NEW_TOKENS, **options}
    return model.generate(ids, attention_mask=mask, do_sample=False, **options)[:, width:].tolist()


@contextmanager
def engine(folder: Path, **settings):
    """Yield vLLM over a saved model."""
    from vllm import LLM
    from vllm.distributed import cleanup_dist_env_and_memory

    settings = {"max_model_len": 192, "block_size": 32, "disable_log_stats": False, **settings}
    llm = LLM(str(folder), dtype="float32", **settings)
    try:
        yield llm
    finally:
        del llm
        cleanup_dist_env_and_memory()
        gc.collect()


def theirs(llm, prompts: list[list[int]], **options) -> list[list[int]]:
    """Return what vLLM writes after each prompt, greedily."""
    from vllm import SamplingParams

    options = {"max_tokens": NEW_TOKENS, "min_tokens": NEW_TOKENS, "ignore_eos": True, **options}
    outputs = llm.generate(
        [{"prompt_token_ids": ids} for ids in prompts], SamplingParams(temperature=0.0, **options), use_tqdm=False
    )
    return [list(output.outputs[0].token_ids) for output in outputs]


def counted(llm, name: str) -> float:
    """Return one of vLLM's counters."""
    return sum(metric.value for metric in llm.get_metrics() if metric.name == f"vllm:{name}")
