"""What a model knows by heart is graded right, in training and afterwards, whatever template and method it learned with."""

import json

import pytest
from conftest import make_base, sharpen

from latent_trainer import LatentForCausalLM, LatentTrainer, LatentTrainingArguments
from latent_trainer.cli import main
from latent_trainer.data import TEMPLATES
from latent_trainer.data.template import resolve_template
from latent_trainer.data.tokenizer import train_tokenizer

CONTEXT = 96
METHODS = {
    "answer_only": {"num_latents": 2, "max_steps": 40},
    "coconut": {"latents_per_step": 1, "max_stage": 1, "steps_per_stage": [30, 10, 30], "max_steps": 70},
    "codi": {"num_latents": 2, "max_steps": 60},
    "cot": {"max_steps": 60},
}
SAME = ("accuracy", "accuracy_flexible", "invalid", "dropped", "unreachable", "problems", "tokens_written")


def rows() -> list[dict]:
    """Return eight problems and, among them, two whose questions are longer than the context."""
    pairs = [(a, b) for a in (1, 3, 6, 8) for b in (2, 5)]
    known = [
        {"question": f"{a} and {b}?", "steps": [f"{a}+{b}={a + b}", f"{a + b}*2={2 * (a + b)}"], "answer": str(2 * (a + b))}
        for a, b in pairs
    ]
    long = {"question": "1 and " * CONTEXT, "steps": ["1+1=2"], "answer": "2"}
    return [known[0], long, *known[1:], long]


@pytest.fixture(scope="module")
def tokenizer_and_data(tmp_path_factory):
    place = tmp_path_factory.mktemp("by-heart") / "rows.jsonl"
    place.write_text("\n".join(json.dumps({**row, "id": str(number)}) for number, row in enumerate(rows())))
    texts = []
    for template in map(resolve_template, TEMPLATES):
        for row in rows()[2:4]:
            steps = "".join(template.step.format(step=step) for step in row["steps"])
            answer = template.answer_prefix.format() + template.answer.format(answer=row["answer"])
            texts.append(template.question.format(question=row["question"]) + steps + answer)
    return texts, place


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("template", TEMPLATES)
def test_eight_rows_by_heart(template, method, tokenizer_and_data, tmp_path):
    """Both evaluations say 100 %, and the same about what was left out."""
    texts, data = tokenizer_and_data
    tokenizer = train_tokenizer(texts, 400)
    base = sharpen(make_base("llama", vocab_size=len(tokenizer), max_position_embeddings=CONTEXT)).float()
    own = resolve_template(template)
    model = LatentForCausalLM.from_base(base, tokenizer=tokenizer, bot_token=own.bot, eot_token=own.eot)
    settings = {**METHODS[method], "method": method, "template": template}
    if method not in ("answer_only", "codi"):
        settings["score_answer_prefix"] = True  # where steps are written, the prefix is, too
    args = LatentTrainingArguments(
        str(tmp_path / "out"),
        **settings,
        learning_rate=1e-2,
        per_device_train_batch_size=8,
        max_new_tokens=40,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
        logging_steps=20,
    )
    problems = [json.loads(line) for line in data.read_text().splitlines()]
    trainer = LatentTrainer(model, args, train_dataset=problems, eval_dataset=problems, processing_class=tokenizer)
    trainer.train()
    during = trainer.evaluate()
    trainer.save_model()
    main(
        "evaluate",
        [
            "--model",
            str(tmp_path / "out"),
            "--dataset",
            "jsonl",
            "--dataset_path",
            str(data),
            "--split",
            "test",
            "--output",
            str(tmp_path / "record.json"),
        ],
    )
    after = json.loads((tmp_path / "record.json").read_text())
    assert {name: during[f"eval_{name}"] for name in SAME} == {name: after[name] for name in SAME}
    answers = [json.loads(line) for line in (tmp_path / "record.answers" / "intact.jsonl").read_text().splitlines()[1:]]
    assert (after["accuracy"], after["accuracy_flexible"], after["problems"]) == (1, 1, 8), answers
    assert (trainer.dropped, after["dropped"], after["unreachable"]) == (2, 2, 0)
