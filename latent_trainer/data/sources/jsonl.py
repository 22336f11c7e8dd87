"""A user's own problems: rows of question, steps and answer, as Coconut, SIM-CoT, ProsQA and CODI publish theirs too."""

from latent_trainer.data import values
from latent_trainer.data.checks import check_of
from latent_trainer.data.files import Place
from latent_trainer.data.forms import check_form, refuse_unread_reasoning
from latent_trainer.data.problem import Problem
from latent_trainer.data.reasoning import cut
from latent_trainer.data.splits import load_split
from latent_trainer.errors import InputError


def load(
    split: str,
    path: str | None = None,
    seed: int = 0,
    validation_path: str | None = None,
    test_path: str | None = None,
    columns: dict[str, str] | None = None,
) -> list[Problem]:
    """Read problems from files of any kind that `files.read` knows, or from folders.

    Args:
        split: train, validation or test.
        path: rows with ``question``, ``answer`` and optionally ``steps`` (a list of texts) or ``cot`` (one text, cut into
            steps), ``id``, ``family`` (a text), ``difficulty`` (a whole number), ``check`` (`latent_trainer.data.checks`).
        seed: decides which questions are held out for validation.
        validation_path: the file of the validation split; without it a part of ``path`` is held out.
        test_path: the file of the test split; without it there is none.
        columns: field -> column, for files with other names.

    Raises:
        InputError: no file, a malformed line, a row without an answer or of another data set's form; names file and row.
        FileNotFoundError: the file does not exist.
    """
    return load_split("jsonl", problem, split, seed, path, validation_path, test_path, columns)


def problem(row: dict, place: Place) -> Problem:
    """Return a row as a problem.

    Raises:
        InputError: a field is missing, empty or of the wrong kind.
    """
    check_form(row, "jsonl", place)
    return read_fields(row, place)


def read_fields(row: dict, place: Place) -> Problem:
    """Return a row as a problem, whatever other form its fields look like.

    Raises:
        InputError: a field is missing, empty or of the wrong kind.
    """
    steps = values.steps(row, "steps", place)
    if row.get("cot"):
        if steps:
            raise InputError(f"{place}: fields 'steps' and 'cot' both hold steps; keep one")
        steps = _reasoning(row, place)
    if not steps:
        refuse_unread_reasoning(row, place)
    problem = Problem(
        values.text(row, "question", place),
        steps,
        values.answer(row, "answer", place),
        id=values.optional(row, "id", place, absent=place.id),
        family=values.optional(row, "family", place),
        difficulty=values.difficulty(row, "difficulty", place),
        place=str(place),
        check=values.optional(row, "check", place),
    )
    if problem.check and not check_of(problem.check)(problem.answer):
        raise InputError(
            f"{place}: field 'answer' is '{problem.answer}', which does not pass its own check '{problem.check}'"
        )
    return problem


def _reasoning(row: dict, place: Place) -> tuple[str, ...]:
    """Return the steps of CODI's field, one text or a list of them."""
    return cut(values.text(row, "cot", place)) if isinstance(row["cot"], str) else values.steps(row, "cot", place)
