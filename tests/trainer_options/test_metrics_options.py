"""What `evaluate` and `predict` are asked for: own metrics, predictions, one data set of several, the loss alone."""

import numpy
import pytest
from datasets import IterableDataset
from training import make_trainer, uneven_problems
from transformers import EarlyStoppingCallback, EvalPrediction, TrainerCallback

from latent_trainer.errors import InputError

PROBLEMS = uneven_problems(7)


def texts(trainer, tokens: numpy.ndarray) -> list[str]:
    """Return what arrays of tokens say, end of text left out."""
    tokenizer = trainer.processing_class
    end = tokenizer.eos_token_id
    return tokenizer.batch_decode(numpy.where(tokens == -100, end, tokens), skip_special_tokens=True)


def learned(tmp_path, **changes):
    """Return a trainer that knows its problems by heart."""
    settings = {"first_stage": 3, "pad_latent_to_max": True, "number": 7, "max_steps": 60}
    trainer = make_trainer(tmp_path, **{**settings, **changes})
    trainer.train()
    return trainer


def test_compute_metrics(tmp_path):
    """It gets tokens written and tokens to be written, in the order of the problems, and its metrics are logged."""
    seen = []

    def compute_metrics(written: EvalPrediction) -> dict:
        seen.append(written)
        return {"same": numpy.float64((written.predictions == written.label_ids).all(1).mean()), "eval_shown": 1}

    trainer = learned(tmp_path, compute_metrics=compute_metrics, include_for_metrics=["inputs"])
    metrics = trainer.evaluate(PROBLEMS)
    (written,) = seen
    assert texts(trainer, written.label_ids) == [f"= {problem.answer}" for problem in PROBLEMS]
    assert texts(trainer, written.predictions) == texts(trainer, written.label_ids)
    shown = texts(trainer, written.inputs)
    assert [text.replace(" ", "") for text in shown] == [problem.question.replace(" ", "") for problem in PROBLEMS]
    assert metrics["eval_same"] == metrics["eval_shown"] == metrics["eval_accuracy"] == 1.0
    assert type(metrics["eval_same"]) is float
    assert trainer.state.log_history[-1]["eval_same"] == 1.0


def test_labels_are_those_of_the_stage(tmp_path):
    seen = []
    trainer = make_trainer(tmp_path, compute_metrics=lambda written: seen.append(written) or {}, first_stage=0)
    trainer.evaluate(PROBLEMS[3:4])
    trainer.evaluate(PROBLEMS[3:4], stage=1)
    written = [texts(trainer, one.label_ids)[0].replace(" ", "") for one in seen]
    problem = PROBLEMS[3]
    steps = [step.replace(" ", "") for step in problem.steps]
    assert written == ["".join(steps) + f"={problem.answer}", "".join(steps[1:]) + f"={problem.answer}"]
    assert seen[0].inputs is None


def test_a_name_that_is_taken(tmp_path):
    for name in ("accuracy", "eval_accuracy"):
        trainer = make_trainer(tmp_path, compute_metrics=lambda written, name=name: {name: 0.0})
        with pytest.raises(InputError, match=rf"compute_metrics returns '{name}'.*another name"):
            trainer.evaluate(PROBLEMS)


def test_predict(tmp_path):
    """The arrays of `compute_metrics`, the metrics of `evaluate` under another name, and its own event."""
    events = []

    class Note(TrainerCallback):
        def on_predict(self, args, state, control, metrics, **kwargs):
            events.append(metrics)

    trainer = learned(tmp_path, callbacks=[Note()])
    logged = len(trainer.state.log_history)
    output = trainer.predict(PROBLEMS)
    assert len(trainer.state.log_history) == logged
    assert texts(trainer, output.predictions) == [f"= {problem.answer}" for problem in PROBLEMS]
    assert texts(trainer, output.label_ids) == texts(trainer, output.predictions)
    assert output.metrics["test_accuracy"] == 1.0 and events == [output.metrics]
    assert output.metrics["test_loss"] == trainer.evaluate(PROBLEMS)["eval_loss"]
    assert trainer.predict(PROBLEMS, metric_key_prefix="held_out").metrics["held_out_problems"] == 7


def test_the_loss_alone(tmp_path):
    trainer = make_trainer(tmp_path, prediction_loss_only=True)
    metrics = trainer.evaluate(PROBLEMS)
    assert "eval_loss" in metrics and not any("accuracy" in name for name in metrics)
    assert trainer.predict(PROBLEMS)[:2] == (None, None)
    with pytest.raises(InputError, match="generate_in_eval is off"):
        make_trainer(tmp_path, generate_in_eval=False).predict(PROBLEMS)


def test_evaluate_one_of_several(tmp_path):
    trainer = make_trainer(tmp_path, eval_dataset={"short": PROBLEMS[:2], "long": PROBLEMS})
    assert trainer.evaluate("short")["eval_short_problems"] == 2
    for name in ("absent", "eval"):
        with pytest.raises(InputError, match=r"short.*long"):
            trainer.evaluate(name)
    with pytest.raises(InputError, match="no names"):
        make_trainer(tmp_path).evaluate("short")


def test_streamed_problems(tmp_path):
    """Streams and iterators are read to their end; an iterator is there again for the next evaluation."""
    rows = [{"question": problem.question, "steps": list(problem.steps), "answer": problem.answer} for problem in PROBLEMS]
    stream = IterableDataset.from_generator(lambda: iter(rows))
    trainer = make_trainer(tmp_path, train_dataset=stream, eval_dataset=iter(rows), max_steps=1)
    assert len(trainer.rows) == 7
    trainer.train()
    assert [trainer.evaluate()["eval_problems"] for _ in range(2)] == [7, 7]
    several = make_trainer(tmp_path, eval_dataset={"few": iter(rows[:2]), "all": stream})
    assert [several.evaluate()[f"eval_{name}_problems"] for name in ("few", "all", "few")] == [2, 7, 2]


def test_a_best_model_by_what_is_not_written(tmp_path):
    """It is said before the first stage has been trained."""
    with pytest.raises(InputError, match="metric_for_best_model=accuracy_flexible needs written answers, and generate_in_e"):
        make_trainer(tmp_path, metric_for_best_model="eval_accuracy_flexible", prediction_loss_only=True)


def test_memory_of_evaluation(tmp_path):
    trainer = make_trainer(tmp_path, skip_memory_metrics=False, generate_in_eval=False)
    metrics = trainer.evaluate(PROBLEMS)
    assert {"eval_mem_cpu_alloc_delta", "eval_mem_cpu_peaked_delta"} <= set(metrics)


def test_early_stopping(tmp_path):
    """A run ends when the accuracy, or a metric of one's own, no longer rises."""
    values = iter([1.0, 2.0, 0.0, 0.0, 0.0, 0.0])
    for number, (metric, steps) in enumerate({"eval_own": 4, "eval_latents": 3}.items()):
        trainer = make_trainer(
            tmp_path / str(number),
            number=8,
            method="no_cot",
            max_steps=6,
            compute_metrics=lambda written: {"own": next(values)} if metric == "eval_own" else {},  # noqa: B023
            eval_dataset=PROBLEMS[:2],
            eval_strategy="steps",
            eval_steps=1,
            save_strategy="steps",
            save_steps=1,
            load_best_model_at_end=True,
            metric_for_best_model=metric,
            greater_is_better=True,
            callbacks=[EarlyStoppingCallback(early_stopping_patience=2)],
        )
        trainer.train()
        assert trainer.state.global_step == steps
