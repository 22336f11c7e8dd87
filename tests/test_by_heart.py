"""What a model knows by heart is graded right, in training and afterwards, whatever template and method it learned with."""

import json
from pathlib import Path

import pytest
import torch
from conftest import make_base, sharpen

from latent_trainer import LatentForCausalLM, LatentTrainer, LatentTrainingArguments, load_problems
from latent_trainer.cli import main
from latent_trainer.data import TEMPLATES
from latent_trainer.data.template import resolve_template
from latent_trainer.data.tokenizer import train_tokenizer

RECIPES = Path(__file__).resolve().parents[1] / "recipes"
CONTEXT = 96
METHODS = {
    "answer_only": {"num_latents": 2, "max_steps": 30},
    "coconut": {"latents_per_step": 1, "max_stage": 1, "steps_per_stage": [20, 10, 50], "max_steps": 80},
    "codi": {"num_latents": 2, "max_steps": 40},
    "cot": {"max_steps": 40},
}
QUICK_TEMPLATES = ("coconut", "r1")
PRODUCT = [
    pytest.param(template, method, marks=() if template in QUICK_TEMPLATES else pytest.mark.slow)
    for template in TEMPLATES
    for method in METHODS
]
SAME = ("accuracy", "accuracy_flexible", "invalid", "dropped", "unreachable", "problems", "tokens_written")


def some_rows() -> list[dict]:
    """Return eight problems and, among them, two whose questions are longer than the context."""
    pairs = [(a, b) for a in (1, 3, 6, 8) for b in (2, 5)]
    known = [
        {"question": f"{a} and {b}?", "steps": [f"{a}+{b}={a + b}", f"{a + b}*2={2 * (a + b)}"], "answer": str(2 * (a + b))}
        for a, b in pairs
    ]
    long = {"question": "1 and " * CONTEXT, "steps": ["1+1=2"], "answer": "2"}
    return [{**row, "id": str(number)} for number, row in enumerate([known[0], long, *known[1:], long])]


def written(template, problems) -> list[str]:
    """Return problems as a model reads and writes them, for a tokenizer to learn."""
    return [
        template.question.format(question=row["question"])
        + "".join(template.step.format(step=step) for step in row["steps"])
        + template.answer_prefix.format()
        + template.answer.format(answer=row["answer"])
        for row in problems
    ]


def evaluated(model, data, folder) -> tuple[dict, list[dict]]:
    """Run ``latent-trainer evaluate``; return its record and answers."""
    words = ["--model", str(model), "--dataset", "jsonl", "--dataset_test_path", str(data)]
    words += ["--output", str(folder / "record.json")]
    main("evaluate", words)
    answers = (folder / "record.answers" / "intact.jsonl").read_text().splitlines()[1:]
    return json.loads((folder / "record.json").read_text()), list(map(json.loads, answers))


@pytest.mark.parametrize(("template", "method"), PRODUCT)
def test_eight_rows_by_heart(template, method, tmp_path):
    """Both evaluations say 100 %, and the same about what was left out."""
    own, problems = resolve_template(template), some_rows()
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, problems)))
    tokenizer = train_tokenizer([text for one in TEMPLATES.values() for text in written(one, problems[2:4])], 400)
    base = sharpen(make_base("llama", vocab_size=len(tokenizer), max_position_embeddings=CONTEXT, dtype=torch.float32))
    model = LatentForCausalLM.from_base(base, tokenizer=tokenizer, bot_token=own.bot, eot_token=own.eot)
    args = LatentTrainingArguments(
        str(tmp_path / "out"),
        method=method,
        template=template,
        score_answer_prefix=True if method in ("coconut", "cot") else None,  # where steps are written, it is, too
        learning_rate=1e-2,
        per_device_train_batch_size=8,
        max_new_tokens=40,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
        **METHODS[method],
    )
    trainer = LatentTrainer(model, args, train_dataset=problems, eval_dataset=problems, processing_class=tokenizer)
    trainer.train()
    during = trainer.evaluate()
    trainer.save_model()
    after, answers = evaluated(tmp_path / "out", tmp_path / "rows.jsonl", tmp_path)
    assert {name: during[f"eval_{name}"] for name in SAME} == {name: after[name] for name in SAME}
    assert (after["accuracy"], after["accuracy_flexible"], after["problems"]) == (1, 1, 8), answers
    assert (trainer.dropped, after["dropped"], after["unreachable"]) == (2, 2, 0)


@pytest.mark.parametrize(
    "data",
    ["gsm8k", pytest.param("combinatorics", marks=pytest.mark.slow), pytest.param("convex", marks=pytest.mark.slow)],
)
def test_the_answer_only_recipes(data, tmp_path):
    """The recipe's own settings on eight rows; only model, data, number types and the number of steps are replaced."""
    if data == "gsm8k":
        things = ("pens", "books", "cups", "keys", "maps", "toys", "nuts", "figs", "bags")
        questions = (f"He has 4 {thing} and buys {n}. How many {thing}?" for n, thing in enumerate(things, 3))
        problems = [
            {"question": text, "steps": [f"4+{n}={4 + n}"], "answer": str(4 + n)} for n, text in enumerate(questions, 3)
        ]
    else:
        problems = [row for row in load_problems(data, "train", size=200).to_list() if len(row["question"]) < 150][:9]
    rows = tmp_path / "rows.jsonl"
    rows.write_text("\n".join(json.dumps({**row, "id": str(number)}) for number, row in enumerate(problems)))
    learned = load_problems("jsonl", "train", path=str(rows)).to_list()  # without the one that is held out
    assert len(learned) == 8
    (tmp_path / "learned.jsonl").write_text("\n".join(map(json.dumps, learned)))
    tokenizer = train_tokenizer(written(TEMPLATES["r1"], problems), 600)
    base = make_base(
        "qwen2", len(tokenizer), torch.float32, hidden_size=64, max_position_embeddings=1024, tie_word_embeddings=False
    )
    sharpen(base).save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    recipe = RECIPES / data / "deepseek-r1-distill-qwen-1.5b-answer-only.yaml"
    words = ["--config", str(recipe), "--output_dir", str(tmp_path / "out"), "--model_name_or_path", str(tmp_path / "base")]
    words += ["--dataset", "jsonl", "--dataset_options", "{}", "--dataset_path", str(rows)]
    words += ["--dtype", "float32", "--bf16", "false", "--report_to", "none", "--disable_tqdm", "true"]
    words += ["--eval_strategy", "no", "--save_strategy", "no", "--gradient_accumulation_steps", "1"]
    main("train", [*words, "--per_device_train_batch_size", "8", "--max_steps", "80", "--learning_rate", "1e-2"])
    record, answers = evaluated(tmp_path / "out", tmp_path / "learned.jsonl", tmp_path)
    assert (record["accuracy"], record["accuracy_flexible"], record["problems"]) == (1, 1, 8), answers
