"""What every benchmark shares: shapes, interleaved timing, and records in results/benchmarks/."""

import argparse
import ctypes
import gc
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from latent_trainer import LatentForCausalLM
from latent_trainer.evaluation.record import write_record

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
ROOT = Path(__file__).resolve().parents[1]
NO_DROPOUT = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
QWEN = {"model_type": "qwen2", "vocab_size": 151936, "num_key_value_heads": 2, "tie_word_embeddings": True}
QWEN3 = {
    "model_type": "qwen3",
    "vocab_size": 151936,
    "num_hidden_layers": 28,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "tie_word_embeddings": True,
    "max_position_embeddings": 8192,
}
SHAPES = {
    "gpt2": {"model_type": "gpt2", "vocab_size": 50260, "n_positions": 1024, **NO_DROPOUT},
    "qwen2.5-0.5b": {
        **QWEN,
        "hidden_size": 896,
        "intermediate_size": 4864,
        "num_hidden_layers": 24,
        "num_attention_heads": 14,
    },
    "qwen2.5-1.5b": {
        **QWEN,
        "hidden_size": 1536,
        "intermediate_size": 8960,
        "num_hidden_layers": 28,
        "num_attention_heads": 12,
    },
    "llama-3.2-1b": {
        "model_type": "llama",
        "vocab_size": 128256,
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 16 if DEVICE == "cuda" else 4,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "tie_word_embeddings": True,
    },
    "smollm2-135m": {
        "model_type": "llama",
        "vocab_size": 49152,
        "hidden_size": 576,
        "intermediate_size": 1536,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "tie_word_embeddings": True,
        "max_position_embeddings": 8192,
    },
    "qwen3-0.6b": {**QWEN3, "hidden_size": 1024, "intermediate_size": 3072},
    "qwen3-1.7b": {**QWEN3, "hidden_size": 2048, "intermediate_size": 6144},
    "tiny": {"model_type": "gpt2", "vocab_size": 503, "n_embd": 64, "n_layer": 2, "n_head": 4, **NO_DROPOUT},
}


def make_base(shape: str, seed: int = 0, layers: int | None = None, **changes) -> PreTrainedModel:
    """Return a stock model of a shape with random weights, on the CPU.

    Args:
        shape: a key of ``SHAPES``.
        seed: of the weights.
        layers: another number of layers.
        changes: other settings of the configuration.
    """
    torch.manual_seed(seed)
    settings = {**SHAPES[shape], "bos_token_id": 0, "eos_token_id": 0, **changes}
    config = AutoConfig.for_model(settings.pop("model_type"), **settings)
    if layers is not None:
        config.num_hidden_layers = layers
        if getattr(config, "layer_types", None):
            config.layer_types = config.layer_types[:layers]
    return AutoModelForCausalLM.from_config(config)


def make_model(
    shape: str,
    dtype: str = "float32",
    seed: int = 0,
    ids: dict[str, int] | None = None,
    layers: int | None = None,
) -> LatentForCausalLM:
    """Return a latent model of a shape with random weights, on the GPU where there is one.

    The last three rows of its vocabulary are the thought tokens unless ``ids`` names others.
    """
    base = make_base(shape, seed, layers)
    last = base.config.vocab_size
    ids = ids or {"latent_token_id": last - 3, "bot_token_id": last - 2, "eot_token_id": last - 1}
    return LatentForCausalLM.from_base(base, **ids).to(DEVICE, getattr(torch, dtype))


def measure(candidates: dict[str, Callable[[], None]], rounds: int) -> dict[str, list[float]]:
    """Time callables in turn, after one warm-up each, and return the seconds of every round.

    Every round runs all of them, so that a slow moment of the machine falls on all; ratios are taken within a round.
    """
    keep_freed_memory()
    for run in candidates.values():
        run()
    seconds = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, run in candidates.items():
            gc.collect()
            _synchronise()
            began = time.perf_counter()
            run()
            _synchronise()
            seconds[name].append(time.perf_counter() - began)
    return seconds


def spread(values: list[float], name: str = "ratio") -> dict[str, float]:
    """Return the median and the quartiles of ``values``."""
    low, _, high = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3
    return {name: statistics.median(values), f"{name}_low": low, f"{name}_high": high}


def compare(candidates: dict[str, Callable[[], None]], reference: str, rounds: int) -> dict[str, dict[str, float]]:
    """Time callables side by side; name -> median ``seconds``, and the ``ratio`` to ``reference`` with its quartiles."""
    seconds = measure(candidates, rounds)
    return {
        name: {"seconds": statistics.median(own), **spread(over(own, seconds[reference]))} for name, own in seconds.items()
    }


def over(own: list[float], reference: list[float]) -> list[float]:
    """Return the ratio of two measurements in every round."""
    return [mine / other for mine, other in zip(own, reference, strict=True)]


def keep_freed_memory() -> None:
    """Have glibc keep what is freed, as PyTorch does on a GPU.

    Otherwise one side gives memory back that the other then pays for in page faults, a different amount in every process.
    """
    if sys.platform == "linux":
        allocator = ctypes.CDLL(None)
        allocator.mallopt(-1, -1)  # M_TRIM_THRESHOLD: never
        allocator.mallopt(-4, 0)  # M_MMAP_MAX: nothing is mapped on its own, to be unmapped when it is freed


def _synchronise() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def ceiling(dtype: str) -> float:
    """Return the floating-point operations a second of a large square matrix product, the best of ten."""
    size = 8192 if DEVICE == "cuda" else 2048
    left, right = (torch.randn(size, size, device=DEVICE).to(getattr(torch, dtype)) for _ in range(2))
    return 2 * size**3 / min(measure({"product": lambda: left @ right}, 10)["product"])


def record_path(name: str, args: argparse.Namespace) -> Path:
    """Return where a record is written."""
    return Path(args.results) / f"{name}.json"


def report(name: str, results: dict, config: dict, args: argparse.Namespace) -> None:
    """Print a line a measurement and write NAME.json; the command line and ``config`` say how it was made."""
    for label, row in results.items():
        if "seconds" not in row:
            continue
        print(
            f"{label:44} {row['seconds']:8.3f} s   {row['ratio']:5.2f} x plain   "
            f"(quartiles {row['ratio_low']:.2f} to {row['ratio_high']:.2f})"
        )
    write(name, results, config, args)


def write(name: str, results: dict, config: dict, args: argparse.Namespace) -> None:
    """Write NAME.json; the command line and ``config`` say how it was made."""
    path = record_path(name, args)
    path.parent.mkdir(parents=True, exist_ok=True)
    given = {name: value for name, value in vars(args).items() if name != "results"}
    write_record(str(path), {"rows": results}, given | config)
    print(f"record in {path}")


def positive(text: str) -> int:
    """Return a number of at least 1, as an option's type."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of at least 1")
    return int(text)


def argument_parser(description: str, without: tuple[str, ...] = ()) -> argparse.ArgumentParser:
    """Return a parser of what every benchmark takes, but for the options ``without``, which a benchmark would not read."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", default="gpt2", choices=sorted(SHAPES), help="model shape, random weights")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"), help="of weights and activations")
    if "rounds" not in without:
        parser.add_argument("--rounds", type=positive, default=5, help="interleaved rounds after one warm-up")
    if "batch" not in without:
        parser.add_argument("--batch", type=positive, default=8, help="rows per step")
    parser.add_argument("--results", default=str(ROOT / "results" / "benchmarks"), help="folder of the record")
    return parser


def record_name(kind: str, args: argparse.Namespace) -> str:
    """Return the name of a record; that of float32 on a CPU has no suffix."""
    suffix = "" if (DEVICE, args.dtype) == ("cpu", "float32") else f"-{DEVICE}-{args.dtype}"
    return f"{kind}-{args.shape}{suffix}"
