"""What a reward is: a number for every answer, from the tokens written and the problem they answer."""

from collections.abc import Sequence
from dataclasses import fields

from transformers import PreTrainedTokenizerBase

from latent_trainer.data.problem import Problem
from latent_trainer.data.template import Template
from latent_trainer.errors import InputError
from latent_trainer.evaluation.generation import graded

COLUMNS = tuple(one.name for one in fields(Problem) if one.name != "place")


class Reward:
    """A reward function as TRL calls it, which also knows how the model's texts are read.

    Args:
        tokenizer: of the model.
        template: how the model was trained to write.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, template: Template):
        self.tokenizer, self.template = tokenizer, template
        self.__name__ = type(self).__name__.removesuffix("Reward").lower()

    def __call__(self, completion_ids: Sequence[list[int]], **columns) -> list[float | None]:
        """Return a reward for every answer; None where there is none to give.

        Args:
            completion_ids: N lists of the tokens written.
            columns: N values of each column of the data set, ``num_latents`` of the prompts, and ``group_size``, how many
                answers to one prompt stand together.
        """
        raise NotImplementedError(f"{type(self).__name__} has no method __call__")

    def problems(self, columns: dict) -> list[Problem]:
        """Return the problems that are answered.

        Raises:
            InputError: the data set holds prompts and no problems.
        """
        if not {"question", "answer"} <= columns.keys():
            raise InputError(
                f"reward={self.__name__} compares with the answer to a problem; give a data set with the columns question "
                "and answer, or reward functions of your own"
            )
        known = {name: columns[name] for name in COLUMNS if name in columns}
        known.setdefault("steps", [()] * len(columns["question"]))
        return [Problem(**dict(zip(known, row, strict=True))) for row in zip(*known.values(), strict=True)]

    def grades(self, completion_ids: Sequence[list[int]], columns: dict) -> list[dict]:
        """Return what evaluation says of every answer (`latent_trainer.evaluation.generation.graded`)."""
        pairs = zip(self.problems(columns), completion_ids, strict=True)
        return [graded(problem, list(tokens), self.tokenizer, self.template) for problem, tokens in pairs]

    def ends(self, tokens: Sequence[int]) -> bool:
        """Return whether an answer has ended by itself."""
        return bool(tokens) and tokens[-1] == self.tokenizer.eos_token_id
