"""Peak memory of a training step against plain fine-tuning of the same tokens, each in a process of its own.

Run: python benchmarks/memory.py [--shape gpt2] [--rounds 3]

Measured is what a step adds to a process with the model in it: gradients and activations, not the weights. "gigabytes" are
tensors, counted by PyTorch; "process" is what the operating system sees, with the libraries' own buffers and what the
allocator cannot reuse. Two settings: six latents after a short prompt, and thirty after a long one, also with gradient
checkpointing, which is timed too, interleaved.
"""

import json
import resource
import subprocess
import sys
from collections.abc import Callable

import torch
from common import DEVICE, argument_parser, compare, make_model, record_name, report
from steps import Bench, make_batch
from torch.profiler import ProfilerActivity, profile

SHORT = {"batch": 8, "latents": 6, "prompt": 64}
LONG = {"batch": 4, "latents": 30, "prompt": 512}
CANDIDATES = {
    "plain, 6 latents' positions, prompt 64": (SHORT, "plain", False),
    "Coconut, 6 latents, prompt 64": (SHORT, "latent", False),
    "plain, 30 latents' positions, prompt 512": (LONG, "plain", False),
    "Coconut, 30 latents, prompt 512": (LONG, "latent", False),
    "plain, 30 latents' positions, prompt 512, checkpointing": (LONG, "plain", True),
    "Coconut, 30 latents, prompt 512, checkpointing": (LONG, "latent", True),
}
REFERENCES = {
    name: next(
        other
        for other in CANDIDATES
        if other.startswith("plain") and CANDIDATES[other][0] is own[0] and CANDIDATES[other][2] == own[2]
    )
    for name, own in CANDIDATES.items()
}


def make_step(shape: str, dtype: str, name: str) -> Callable[[], None]:
    """Return a training step of a candidate; its model is built here."""
    setting, kind, checkpointing = CANDIDATES[name]
    bench = Bench(make_model(shape, dtype))
    if checkpointing and kind == "plain":
        bench.model.base.config.use_cache = False
        bench.model.base.activation_checkpointing_enable()
    elif checkpointing:
        bench.model.activation_checkpointing_enable()
    batch = make_batch(bench.model, **setting)
    return bench.plain(batch) if kind == "plain" else bench.latent(batch)


def measure_memory(shape: str, dtype: str, name: str) -> dict[str, float]:
    """Return the gigabytes that a step adds to this process, which has run nothing before."""
    step = make_step(shape, dtype, name)
    if DEVICE == "cuda":
        before = torch.cuda.memory_allocated()
        step()
        return {"gigabytes": (torch.cuda.max_memory_allocated() - before) / 1e9}
    before = _resident()
    step()
    process = _resident() - before
    return {"gigabytes": _allocated(step), "process_gigabytes": process}


def _resident() -> float:
    """Return the largest memory of this process so far, in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def _allocated(step: Callable[[], None]) -> float:
    """Return the largest sum of the tensors that a step allocates and has not freed, in GB."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        step()
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    now = most = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        now += event.nbytes()
        most = max(most, now)
    return most / 1e9


def main() -> None:
    """Measure and write results/benchmarks/memory-SHAPE.json."""
    parser = argument_parser(__doc__, without=("batch",))
    parser.set_defaults(rounds=3)
    parser.add_argument("--one", choices=CANDIDATES, help="measure this one in this process and print gigabytes")
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure_memory(args.shape, args.dtype, args.one)))
        return
    results = {}
    for name in CANDIDATES:
        command = [sys.executable, __file__, "--shape", args.shape, "--dtype", args.dtype, "--one", name]
        printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        results[name] = json.loads(printed.splitlines()[-1])
    timed = {
        name: make_step(args.shape, args.dtype, name) for name, (_, _, checkpointing) in CANDIDATES.items() if checkpointing
    }
    for name, row in compare(timed, next(iter(timed)), args.rounds).items():
        results[name] |= row
    for name, row in results.items():
        plain = results[REFERENCES[name]]
        row |= {f"{kind}_ratio": row[kind] / plain[kind] for kind in ("gigabytes", "process_gigabytes") if kind in row}
        print(f"{name:58} {row['gigabytes']:6.2f} GB   {row['gigabytes_ratio']:5.2f} x plain")
    report(record_name("memory", args), results, {"short": SHORT, "long": LONG}, args)


if __name__ == "__main__":
    main()
