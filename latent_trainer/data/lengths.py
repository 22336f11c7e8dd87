"""What fits the context: one rule for training, evaluation, generation and probes."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from latent_trainer.data.encoding import EncodedProblem, Encoder, View
from latent_trainer.errors import InputError
from latent_trainer.methods.curriculum import Plan

Kept = tuple[list[EncodedProblem], int]  # and the number of those left out


@dataclass(frozen=True)
class Room:
    """What a model's context has room for; tokens are counted without padding, latents with the rest.

    Problems of a data set that do not fit are left out and counted, a question that somebody asks is refused.

    Args:
        encoder: writes prompts and rows.
        context: tokens, see `latent_trainer.model.context.context_length`; None where nothing limits it.
        latents: K of a prompt, the most of any stage or condition.
        max_new_tokens: tokens that may be written after a prompt.
    """

    encoder: Encoder
    context: int | None
    latents: int
    max_new_tokens: int

    def read(
        self,
        rows: list[EncodedProblem],
        plans: Callable[[EncodedProblem], list[Plan]],
        views: Callable[[EncodedProblem, Plan], Iterable[View]] | None = None,
        longer: bool = False,
        step_group: int | None = None,
    ) -> Kept:
        """Return the problems that can be read with their answers, and the number of the others.

        Args:
            rows: the problems.
            plans: row -> every plan it may get.
            views: row and plan -> the views that are read of it; by default the one with latents.
            longer: whether a view may be longer than prompt, steps, answer and latents together.
            step_group: latents from which a step decoder reads a step; None where there is none.

        Raises:
            InputError: there are rows, and none of them fits.
        """

        views = views or (lambda row, plan: [self.encoder.latent_view(row, plan)])

        def tokens(row: EncodedProblem) -> int:
            every = plans(row)
            # quick, and enough for nearly every row; one may get more latents than a prompt
            most = row.longest + max([self.latents, *(plan.latents for plan in every)])
            quick = not longer and not self.encoder.template.speed and most <= self.context
            return most if quick else self._longest(row, every, views, step_group)

        return self._that_fit(rows, tokens, "")

    def _longest(self, row: EncodedProblem, plans: list[Plan], views: Callable, step_group: int | None) -> int:
        asked = self.encoder.asked
        lengths = [len(asked(row, plan)) + len(view.input_ids) for plan in plans for view in views(row, plan)]
        if step_group is not None:
            targets = [target for plan in plans for target in self.encoder.step_targets(row, plan, step_group)]
            lengths += [step_group + len(target.input_ids) for target in targets]
        return max(lengths)

    def answered(self, rows: list[EncodedProblem]) -> Kept:
        """Return the problems that can be answered, and the number of the others.

        Raises:
            InputError: there are rows, and none of them fits.
        """
        after = len(self.encoder.prompt_end(self.latents)) + self.max_new_tokens
        return self._that_fit(rows, lambda row: len(row.prompt) + after, f" with max_new_tokens={self.max_new_tokens}")

    def _that_fit(self, rows: list[EncodedProblem], tokens: Callable[[EncodedProblem], int], written: str) -> Kept:
        if self.context is None:
            return rows, 0
        needed = [tokens(row) for row in rows]
        kept = [row for row, number in zip(rows, needed, strict=True) if number <= self.context]
        if rows and not kept:
            raise InputError(
                f"no problem fits the context of {self.context} tokens{written}; {len(rows)} are longer with "
                f"{self.latents} latents: the shortest takes {min(needed)}; lower what it is given, or take a model with a "
                "longer context"
            )
        return kept, len(rows) - len(kept)

    def refuse_long(self, prompts: Iterable[tuple[str, int]]) -> None:
        """Raise a one-line `InputError` where one of the questions that somebody asks does not fit.

        Args:
            prompts: what a message calls a question, and the tokens of its prompt, latents included.
        """
        for name, length in prompts:
            needed = length + self.max_new_tokens
            if self.context is not None and needed > self.context:
                raise InputError(
                    f"{name} has {length - self.latents} tokens with its template; {self.latents} latents and "
                    f"max_new_tokens={self.max_new_tokens} make it {needed}, and the model's context has {self.context}; "
                    "shorten it, or lower max_new_tokens or num_latents"
                )

    def beyond_reach(self, rows: list[EncodedProblem]) -> tuple[int, str]:
        """Return the number of references too long to be written, and a line that says so; empty where there are none.

        What has to be written at least is the answer with what the template puts before it. Steps are not counted, nor is
        the end of text, without which an answer is right, too. Such problems are answered: an equal answer may be shorter.
        """
        template = self.encoder.template
        closes = template.markers and template.remaining_steps == "inside"  # the model writes <|eot|> itself
        before = closes + len(rows[0].answer_prefix) if rows and template.score_answer_prefix else 0
        needed = [before + len(row.answer) - 1 for row in rows]
        number = sum(tokens > self.max_new_tokens for tokens in needed)
        most = max(needed, default=0)
        line = (
            f"max_new_tokens={self.max_new_tokens} is too few to write {number} of {len(rows)} reference answers: "
            f"the longest takes {most} and the end of text; set it to {most + 1} or more"
        )
        return number, line if number else ""
