"""Accuracy of mathematical answers, as a module of the `evaluate` library."""

import datasets
import evaluate

from latent_trainer.errors import InputError
from latent_trainer.evaluation.answers import extract_answer, is_right

DESCRIPTION = """
The share of answers that equal their reference as mathematics: numbers by their exact value, formulas by their values, sets,
tuples and intervals member by member. An answer that cannot be read counts as wrong.
"""

ARGUMENTS = """
Args:
    predictions: list of str, one answer each; an empty text is a missing answer.
    references: list of str, the right answers.
    extract: "strict" or "flexible" to look for the answer in a generated text first; by default a prediction is an answer.
    answer_prefix: what the model writes before its answer.
    answer_suffix: what the model writes behind its answer.
    checks: list of str, the check of each problem that has many right answers, "" where it has one.
Returns:
    accuracy: share of right answers, 0 to 1.
    accuracy_stderr: its standard error, sqrt(p (1 - p) / n).
Examples:
    >>> metric = evaluate.load("answer_accuracy")
    >>> metric.compute(predictions=["0.5", "n^2"], references=[r"\\frac{1}{2}", "2n"])["accuracy"]
    0.5
"""


class AnswerAccuracy(evaluate.Metric):
    """Share of answers that equal their reference, with its standard error."""

    def _info(self) -> evaluate.MetricInfo:
        features = datasets.Features({"predictions": datasets.Value("string"), "references": datasets.Value("string")})
        return evaluate.MetricInfo(description=DESCRIPTION, citation="", inputs_description=ARGUMENTS, features=features)

    def _compute(
        self,
        predictions: list[str],
        references: list[str],
        extract: str | None = None,
        answer_prefix: str = "### ",
        answer_suffix: str = "",
        checks: list[str] | None = None,
    ) -> dict[str, float]:
        if extract is not None:
            predictions = [extract_answer(text, extract, answer_prefix, answer_suffix) for text in predictions]
        number = len(references)
        checks = [""] * number if checks is None else checks
        if len(checks) != number:
            raise InputError(
                f"{len(checks)} checks for {number} references; give one each, '' where an answer must be equal"
            )
        accuracy = sum(map(is_right, predictions, references, checks)) / number
        return {"accuracy": accuracy, "accuracy_stderr": (accuracy * (1 - accuracy) / number) ** 0.5}
