"""The contract of templates."""

from latent_trainer.data import TEMPLATES, Encoder, Template
from latent_trainer.data.problem import Problem
from latent_trainer.data.thought_tokens import add_thought_tokens
from latent_trainer.data.tokenizer import train_tokenizer
from latent_trainer.evaluation.extraction import extract_answer
from latent_trainer.methods.curriculum import EVERYTHING, Plan
from latent_trainer.testing.tiny import contract, require, uneven_problems

PROBLEMS = [
    *uneven_problems(6),
    Problem("What is half of 3?", ("3 / 2 = 1.5",), "1.5", "decimal"),
    Problem("What is 1 - 8?", ("1 - 8 = -7", "so it is -7"), "-7", "negative"),
    Problem("Which share is it?", ("one of two",), "\\frac{1}{2}", "fraction"),
    Problem("Where do they meet?", ("x = 1", "y = -2"), "(1, -2)", "pair"),
    Problem("Is 7 prime?", ("nothing divides it",), "yes", "verdict"),
    Problem("Is Tom a lempus or a scrompus?", ("Tom is a terpus.", "Every terpus is a lempus."), "Tom is a lempus.", "text"),
]


def check_template(template: str | Template) -> None:
    """Require that a template keeps its contract: an answer that is written right is read right, behind steps and alone.

    Args:
        template: a name or a `Template`.

    Raises:
        AssertionError: with a sentence that says what is wrong.
    """
    with contract("template", template) as name:
        what, template = f"template '{name}'", TEMPLATES[name]
        require(Template(**template.to_dict()) == template, f"{what} is another one after it was saved and loaded")
        tokenizer = train_tokenizer([template.written(problem, steps=True) for problem in PROBLEMS], 400)
        add_thought_tokens(tokenizer, template.bot, template.eot)
        encoder = Encoder(tokenizer, template)
        for problem in PROBLEMS:
            asked = template.question.format(question=problem.question)
            require(
                asked.count(problem.question) == 1,
                f"{what} asks {asked!r} for the question {problem.question!r}; write {{question}} once",
            )
            fault = template.fault(problem)
            require(fault is None, f"{what}: problem '{problem.id}': {fault}")
            _check_rows(what, encoder, problem)


def _check_rows(what: str, encoder: Encoder, problem: Problem) -> None:
    """Require that what a model learns to write is read as the answer, with all steps, some and none."""
    row, template = encoder.problem(problem), encoder.template
    skipped = (0, 1, EVERYTHING) if template.score_answer_prefix else (EVERYTHING,)
    for plan in (Plan(latents, steps) for latents in (0, 2) for steps in skipped):
        view = encoder.latent_view(row, plan)
        written = encoder.tokenizer.decode(
            [token for token, label in zip(view.input_ids, view.labels, strict=True) if label >= 0]
        )
        for mode in ("strict", "flexible"):
            found = extract_answer(written, mode, template=template)
            require(
                found == problem.answer,
                f"{what}: {problem.answer!r}, written as {written!r}, is read as {found!r} ({mode}); change answer_prefix",
            )
