"""Saved tiny models of every kind, problems for them, and `latent-trainer evaluate` on both.

The models write digits only, so that grading compares numbers; the problems' answers are partly what the model writes.
"""

import json
from dataclasses import asdict, replace
from pathlib import Path

import torch
from conftest import make_base, sharpen
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from latent_trainer import LatentForCausalLM
from latent_trainer.cli import main
from latent_trainer.data.problem import Problem
from latent_trainer.data.template import resolve_template
from latent_trainer.data.tokenizer import train_tokenizer
from latent_trainer.evaluation.generation import generate_answers

LATENTS = 2
TEMPLATE = resolve_template("plain", score_answer_prefix=False)
# what no two runs share: the clock, the machine's state, where the record lies
PASSING = ("prefill_seconds", "decode_seconds", "seconds_per_problem", "peak_memory_gb", "date", "git_commit", "git_dirty")


def save_all(folder: Path, number: int = 60) -> None:
    """Save ``base``, ``latent``, ``pause`` and ``adapter``, and ``problems.jsonl`` with two families and difficulties."""
    tokenizer = train_tokenizer(["0 1 2 3 4 5 6 7 8 9 + = "], 270)
    base = sharpen(make_base(vocab_size=len(tokenizer), n_positions=40))
    digits = [tokenizer(str(digit)).input_ids[0] for digit in range(10)]
    base.generation_config.suppress_tokens = sorted({*range(len(tokenizer))} - {*digits, tokenizer.eos_token_id})
    base.generation_config.pad_token_id = tokenizer.eos_token_id
    base.save_pretrained(folder / "base")
    tokenizer.save_pretrained(folder / "base")
    for name, feedback in (("latent", "hidden"), ("pause", "learned"), ("adapter", "hidden")):
        base = AutoModelForCausalLM.from_pretrained(folder / "base")
        model = LatentForCausalLM.from_base(base, tokenizer=tokenizer, feedback=feedback).eval()
        model.config.template, model.config.num_latents = TEMPLATE.to_dict(), LATENTS
        if name == "latent":
            problems = _answered(model, tokenizer, number)
        elif name == "adapter":
            torch.manual_seed(0)
            adapter = get_peft_model(
                model, LoraConfig(r=2, target_modules=["c_attn"], fan_in_fan_out=True, init_lora_weights=False)
            )
            adapter.save_pretrained(folder / name)
            model.config.save_pretrained(folder / name)
        if name != "adapter":
            model.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    (folder / "problems.jsonl").write_text("".join(json.dumps(asdict(problem)) + "\n" for problem in problems))


def _answered(model, tokenizer, number: int) -> list[Problem]:
    """Return ragged problems; the model is right about two of three."""
    texts = [
        "+".join(str((7 * row + place * place) % 10) for place in range(1 + row % 6)) + f"+{row}" for row in range(number)
    ]
    facts = [{"id": f"p{row}", "family": ("sums", "more")[row % 2], "difficulty": 1 + row % 3} for row in range(number)]
    problems = [Problem(text, (), "1", **fact) for text, fact in zip(texts, facts, strict=True)]
    answers = generate_answers(model, tokenizer, problems, LATENTS, TEMPLATE, 16, 4)
    rows = enumerate(zip(problems, answers, strict=True))
    return [replace(problem, answer=answer.text or "5") if row % 3 else problem for row, (problem, answer) in rows]


def words(folder: Path, output: Path | None, model: str = "latent", **options) -> list[str]:
    """Return the arguments of ``latent-trainer evaluate``; None leaves an option out."""
    settings = {"model": folder / model, "dataset": "jsonl", "output": output}
    settings |= {"dataset_test_path": folder / "problems.jsonl", "max_new_tokens": 4, "batch_size": 4, **options}
    return [
        str(word)
        for name, value in settings.items()
        if value is not None
        for word in (f"--{name}", *(value if isinstance(value, list) else [value]))
    ]


def evaluate(*arguments, **options) -> tuple[dict, dict[str, list[dict]]]:
    """Run the command in this process; return the record and the answers."""
    main("evaluate", words(*arguments, **options))
    return read(arguments[1])


def read(output: Path) -> tuple[dict, dict[str, list[dict]]]:
    """Return a record and, by condition, the answers beside it, both without what no two runs share."""
    record = json.loads(output.read_text())
    record["config"].pop("output")
    folder = output.with_suffix(".answers")
    assert all(place.suffix in ("", ".jsonl") for place in folder.rglob("*"))  # neither parts nor unfinished files
    answers = {
        str(place.relative_to(folder).with_suffix("")): [json.loads(line) for line in place.read_text().splitlines()[1:]]
        for place in sorted(folder.rglob("*.jsonl"))
    }
    return lasting(record), {name: [lasting(row) for row in rows] for name, rows in answers.items()}


def lasting(record: dict) -> dict:
    """Return a record or an answer without what no two runs share."""
    return {name: value for name, value in record.items() if name not in PASSING}
