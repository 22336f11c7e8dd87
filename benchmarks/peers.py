"""Seconds of a training step against the published code of the same method, on the same weights, side by side.

Run: python benchmarks/peers.py FOLDER [--shape gpt2] [--question 64] [--batch 8] [--rounds 5]

FOLDER holds the published repositories, which are not part of this library: ``coconut/coconut.py`` and
``codi/src/model.py``. Whichever is there is measured. Both sides have the same weights, rows and loss, which is checked
before anything is timed. The published code runs as it is; only the loading of a model by name is replaced.
"""

import argparse
import copy
import importlib.util
from pathlib import Path
from types import ModuleType, SimpleNamespace

import torch
from common import DEVICE, SHAPES, argument_parser, compare, make_base, positive, record_name, report
from steps import QUESTION, Bench, Step, make_batch, whole_rows

from latent_trainer import LatentForCausalLM

LATENTS = 6
CLOSE = 1e-4  # of losses in float32
PLACES = {"Coconut": "coconut/coconut.py", "CODI": "codi/src/model.py"}


def published(folder: Path, method: str) -> ModuleType | None:
    """Return the published code of a method as a module, None where it is not in the folder."""
    path = folder / PLACES[method]
    if not path.is_file():
        return None
    spec = importlib.util.spec_from_file_location(f"published_{method.lower()}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def bench_of(base, dtype: torch.dtype) -> tuple[Bench, dict[str, int]]:
    """Return a bench over a copy of a stock model, and the ids of its thought tokens, the last rows of its vocabulary."""
    last = base.config.vocab_size
    ids = {"latent_token_id": last - 3, "bot_token_id": last - 2, "eot_token_id": last - 1}
    model = LatentForCausalLM.from_base(copy.deepcopy(base), **ids).to(DEVICE, dtype)
    return Bench(model), ids


def peer(model: torch.nn.Module, loss) -> Step:
    """Return a step of a published model; its optimizer costs what that of `steps.Bench` costs."""
    return Step(torch.optim.SGD(model.parameters(), lr=1e-6), loss)


def coconut(module: ModuleType, args: argparse.Namespace) -> dict:
    """Return the steps of Coconut: ours, the published one, and plain fine-tuning of the same positions."""
    base = make_base(args.shape)
    bench, ids = bench_of(base, getattr(torch, args.dtype))
    batch = make_batch(bench.model, args.batch, LATENTS, prompt=args.question)
    own = base.to(DEVICE, getattr(torch, args.dtype))
    model = module.Coconut(own, ids["latent_token_id"], ids["bot_token_id"], ids["eot_token_id"], 0)
    model.train()
    rows = whole_rows(batch, "latent")
    rows["position_ids"] = torch.arange(rows["input_ids"].shape[1], device=DEVICE).expand_as(rows["input_ids"])
    return {
        "plain": bench.plain(batch),
        "ours": bench.latent(batch),
        "published": peer(own, lambda: model(**rows).loss),
    }


def codi(module: ModuleType, args: argparse.Namespace) -> dict:
    """Return the steps of CODI: ours, the published one, and plain fine-tuning on written steps."""
    known = SHAPES[args.shape]["vocab_size"] - 3  # CODI adds three rows
    base = make_base(args.shape, vocab_size=known)
    module.AutoModelForCausalLM = SimpleNamespace(from_pretrained=lambda *_, **__: base)
    module.AutoTokenizer = SimpleNamespace(from_pretrained=lambda *_, **__: SimpleNamespace(pad_token_id=0))
    name = "gpt2" if SHAPES[args.shape]["model_type"] == "gpt2" else "other"  # says where the embedding is
    of_training = {"bf16": False, "num_latent": LATENTS, "use_lora": False, "use_prj": False, "prj_no_ln": True}
    of_training |= {"print_loss": False, "ref_loss_factor": 1.0, "fix_attn_mask": False, "print_ref_model_stats": False}
    of_training |= {"distill_loss_div_std": True, "distill_loss_type": "smooth_l1", "distill_loss_factor": 1.0}
    of_training |= {"restore_from": ""}
    of_model = {"model_name_or_path": name, "full_precision": True, "train": True}
    model = module.CODI(SimpleNamespace(**of_model), SimpleNamespace(**of_training), None)
    bench, ids = bench_of(model.codi, getattr(torch, args.dtype))
    model = model.to(DEVICE, getattr(torch, args.dtype)).train()
    batch = make_batch(bench.model, args.batch, LATENTS, prompt=args.question, views=("latent", "explicit"))
    question, teacher = batch["input_ids"], whole_rows(batch, "explicit")
    bot = torch.full_like(question[:, :1], ids["bot_token_id"])
    decoded = batch["views"]["latent"]["input_ids"][:, LATENTS + 1 :]  # from the end of the thought on
    labels = batch["views"]["latent"]["labels"][:, LATENTS + 1 :]
    rows = {"encoder_input_ids": torch.cat([question, bot], 1), "decoder_input_ids": decoded, "labels": labels}
    rows |= {"ref_input_ids": teacher["input_ids"], "ref_labels": teacher["labels"]}
    starts = {view: own["answer_start"] for view, own in batch["views"].items()}  # columns behind the first answer token
    rows["model_answer_position"] = starts["latent"] - LATENTS - 1
    rows["ref_answer_position"] = starts["explicit"] + question.shape[1]
    return {
        "plain": bench.plain(batch, "explicit"),
        "ours": bench.latent(batch, "self_distillation"),
        "published": peer(model, lambda: model(**rows)["loss"]),
    }


def check(method: str, steps: dict) -> None:
    """Raise a `SystemExit` where the two sides do not compute the same loss."""
    ours, theirs = (float(steps[name].loss().detach()) for name in ("ours", "published"))
    print(f"{method}: loss {ours:.6f} here, {theirs:.6f} published")
    if abs(ours - theirs) > CLOSE * abs(theirs):
        raise SystemExit(f"{method}: the losses differ, so that the seconds would compare different things")


def main() -> None:
    """Measure and write results/benchmarks/peers-SHAPE.json."""
    parser = argument_parser(__doc__)
    parser.add_argument("folder", type=Path, help="where the published repositories are")
    parser.add_argument("--question", type=positive, default=QUESTION, help="tokens of every question")
    args = parser.parse_args()
    results = {}
    for method, make in (("Coconut", coconut), ("CODI", codi)):
        module = published(args.folder, method)
        if module is None:
            print(f"{method} is left out: there is no {args.folder / PLACES[method]}")
            continue
        steps = make(module, args)
        check(method, steps)
        measured = compare(steps, "plain", args.rounds)
        results |= {f"{method}, {name}": row for name, row in measured.items()}
    if not results:
        parser.error(f"{args.folder} holds none of {', '.join(PLACES.values())}; clone the published repositories there")
    report(record_name("peers", args), results, {"latents": LATENTS, "folder": "FOLDER"}, args)


if __name__ == "__main__":
    main()
