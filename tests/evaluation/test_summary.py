"""What a record says about answers, from answers made by hand."""

import pytest

from latent_trainer.data.problem import Problem
from latent_trainer.evaluation.generation import Answer
from latent_trainer.evaluation.summary import by_group, summarise


def answer(id: str, sample: int = 0, strict: str | None = "1", reference: str = "1", flexible: str | None = None, **changes):
    """Return a graded answer; what it cost follows from its number."""
    flexible = strict if flexible is None else flexible
    settings = {"tokens_written": 2 + sample, "latents": 3, "passes": 5, "prefill_seconds": 0.25, "decode_seconds": 0.5}
    graded = {"correct": strict == reference, "correct_flexible": flexible == reference}
    return Answer(id, sample, reference, "", strict, flexible, **{**graded, **settings, **changes})


def test_one_answer_a_problem():
    answers = [answer("a"), answer("b", strict="2"), answer("c", strict=None, flexible="1"), answer("d", strict=None)]
    found = summarise(answers)
    assert (found["accuracy"], found["accuracy_flexible"], found["invalid"]) == (0.25, 0.5, 0.5)
    assert found["accuracy_stderr"] == pytest.approx((0.25 * 0.75 / 4) ** 0.5)
    assert found["accuracy_flexible_stderr"] == pytest.approx(0.25)
    assert found["accuracy_low"] <= 0.25 <= found["accuracy_high"]
    assert (found["tokens_written"], found["latents"], found["passes"], found["problems"]) == (2, 3, 5, 4)
    assert (found["prefill_seconds"], found["decode_seconds"], found["seconds_per_problem"]) == (0.25, 0.5, 0.75)
    assert not {"majority", "samples", "pass@1"} & found.keys()


def several(id: str, *texts: str | None) -> list[Answer]:
    return [answer(id, number, text) for number, text in enumerate(texts)]


def test_several_answers_a_problem():
    """Shares of right answers 1/5, 3/5 and 0: pass@k by counting the draws of k answers by hand."""
    rows = [("1", "2", "2", "3", "4"), ("1", "1", "2", "1", None), (None, None, "2", "3", "4")]
    answers = [one for name, texts in zip("abc", rows, strict=True) for one in several(name, *texts)]
    found = summarise(answers)
    assert found["samples"] == 5 and found["problems"] == 3
    assert found["accuracy"] == found["pass@1"] == pytest.approx((1 / 5 + 3 / 5) / 3)
    assert found["pass@2"] == pytest.approx((4 / 10 + 9 / 10) / 3)
    assert found["pass@4"] == pytest.approx((4 / 5 + 1) / 3)
    assert {name for name in found if name.startswith("pass@")} == {
        name for k in (1, 2, 4) for name in (f"pass@{k}", f"pass@{k}_stderr")
    }
    assert found["majority"] == pytest.approx(1 / 3)
    assert found["invalid"] == 3 / 15 and found["tokens_written"] == 4


@pytest.mark.parametrize(
    ("texts", "right"),
    [
        (("2", "1", "1"), True),
        (("1", "2", "2"), False),
        (("1", "2", "2", "1"), True),  # a tie: the answer written first
        (("2", "1", "1", "2"), False),
        ((None, None, None, "1"), True),  # a missing answer has no vote
        ((None, "2", "1"), False),
        ((None, None), False),
        (("1.0", "2", "2/2", "3"), True),  # votes are counted by value
    ],
)
def test_majority(texts, right):
    answers = [answer("a", number, text, correct=text in ("1", "1.0", "2/2")) for number, text in enumerate(texts)]
    assert summarise(answers)["majority"] == right


def test_the_order_of_problems_does_not_matter_and_that_of_samples_does_not_either():
    groups = [several("a", "1", "2", "2"), several("b", "1", "1", "3"), several("c", "4", "1", "4")]
    first = summarise([one for group in groups for one in group])
    second = summarise([one for group in reversed(groups) for one in group])
    varying = ("accuracy_low", "accuracy_high")  # resampled in order
    assert {k: v for k, v in first.items() if k not in varying} == pytest.approx(
        {k: v for k, v in second.items() if k not in varying}
    )


def test_groups():
    """By family and by difficulty in sorted order; problems without either are in no table."""
    facts = [("sums", 2), ("products", 1), ("sums", 1), ("", 0)]
    problems = [Problem("q", (), "1", str(number), *fact) for number, fact in enumerate(facts)]
    answers = [one for number in range(4) for one in several(str(number), "1", "1" if number < 2 else "2")]
    found = by_group(answers, problems)
    assert list(found["by_family"]) == ["products", "sums"] and list(found["by_difficulty"]) == ["1", "2"]
    assert found["by_family"]["sums"] == {"accuracy": 0.75, "accuracy_stderr": pytest.approx(0.25 / 2**0.5), "problems": 2}
    assert found["by_difficulty"]["2"] == {"accuracy": 1.0, "accuracy_stderr": 0.0, "problems": 1}
    assert by_group([answer("a")], [Problem("q", (), "1")]) == {}
    with pytest.raises(ValueError):
        by_group(answers, problems[:-1])
