"""A problem: the one record every dataset is turned into."""

from dataclasses import dataclass, field

from latent_trainer.data.checks import check_of
from latent_trainer.errors import InputError


@dataclass(frozen=True)
class Problem:
    """One question with its written reasoning and its answer.

    Args:
        question: the text put to the model.
        steps: the written reasoning, one string a step; may be empty.
        answer: the text a grader compares with; never empty.
        id: a name that stays the same between runs, for per-problem records.
        family: the kind of problem, where the data set tells; results are broken down by it.
        difficulty: 1 (easy) to 5, where the data set tells, else 0.
        place: where it was read, "file:row", for messages; no part of what the problem is.
        check: what makes an answer right where many are, see `latent_trainer.data.checks`; ``answer`` is one of them then.
            "" where an answer must equal it.

    Raises:
        ValueError: if the question or the answer is empty, or the check is none.
    """

    question: str
    steps: tuple[str, ...]
    answer: str
    id: str = ""
    family: str = ""
    difficulty: int = 0
    place: str = field(default="", compare=False)
    check: str = ""

    def __post_init__(self):
        for name in ("question", "answer"):
            value = getattr(self, name)
            if not isinstance(value, str) or not value.strip():
                raise InputError(f"{self.named}: field '{name}' is empty or not a text; give it a text")
        object.__setattr__(self, "steps", tuple(self.steps))
        if self.check:
            try:
                check_of(self.check)
            except InputError as error:
                raise InputError(f"{self.named}: {error}") from None

    @property
    def named(self) -> str:
        """How a message names this problem: by its place, else by its id."""
        return self.place or f"problem {self.id or '(no id)'}"
