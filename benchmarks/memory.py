"""Peak memory of a training step against plain fine-tuning of the same tokens, each in a process of its own.

Run: python benchmarks/memory.py [--shape gpt2] [--rounds 2]

Measured is what a step adds to the process with the model in it: gradients and activations, not the weights. Two settings:
six latents after a short prompt, and thirty after a long one with gradient checkpointing, which is also timed, interleaved.
"""

import resource
import subprocess
import sys
from collections.abc import Callable

import torch
from common import DEVICE, argument_parser, compare, make_model, report
from training import latent_step, plain_step, rows

from latent_trainer.objectives import OBJECTIVES

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


def make_step(shape: str, name: str) -> Callable[[], None]:
    """Return a training step of a candidate; its model is built here."""
    setting, kind, checkpointing = CANDIDATES[name]
    model = make_model(shape, n_positions=1024) if shape in ("gpt2", "tiny") else make_model(shape)
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6)
    made = rows(
        setting["batch"],
        model.config.vocab_size,
        setting["latents"],
        model.config.latent_token_id,
        ("latent",),
        setting["prompt"],
    )
    if kind == "plain":
        if checkpointing:
            model.base.config.use_cache = False
            model.base.activation_checkpointing_enable()
        return plain_step(model, optimizer, made, "latent")
    if checkpointing:
        model.activation_checkpointing_enable()
    return latent_step(model, optimizer, made, OBJECTIVES["answer"]())


def measure(shape: str, name: str) -> float:
    """Return the gigabytes that a step adds to the peak of a process with the model in it."""
    step = make_step(shape, name)
    before = peak()
    step()
    return peak() - before


def peak() -> float:
    """Return the peak memory of this process so far, in GB."""
    if DEVICE == "cuda":
        return torch.cuda.max_memory_allocated() / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def main() -> None:
    """Measure and write results/benchmarks/memory-SHAPE.json."""
    parser = argument_parser(__doc__)
    parser.set_defaults(rounds=2)
    parser.add_argument("--one", choices=CANDIDATES, help="measure this one in this process and print gigabytes")
    args = parser.parse_args()
    if args.one:
        print(measure(args.shape, args.one))
        return
    results = {}
    for name in CANDIDATES:
        command = [sys.executable, __file__, "--shape", args.shape, "--one", name]
        printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        results[name] = {"gigabytes": float(printed.splitlines()[-1])}
    timed = {name: make_step(args.shape, name) for name, (_, _, checkpointing) in CANDIDATES.items() if checkpointing}
    for name, row in compare(timed, next(iter(timed)), args.rounds).items():
        results[name] |= row
    for name, row in results.items():
        row["memory_ratio"] = row["gigabytes"] / results[REFERENCES[name]]["gigabytes"]
        print(f"{name:58} {row['gigabytes']:6.2f} GB   {row['memory_ratio']:5.2f} x plain")
    report(f"memory-{args.shape}", results, {"shape": args.shape, "rounds": args.rounds, "short": SHORT, "long": LONG})


if __name__ == "__main__":
    main()
