"""A story: the numbers of one word problem, how they are told, and what comes out."""

import random
import re
from dataclasses import dataclass, replace
from fractions import Fraction

from latent_trainer.data.generated.stories.home import SCENES as HOME
from latent_trainer.data.generated.stories.places import SCENES as PLACES
from latent_trainer.data.generated.stories.play import SCENES as PLAY
from latent_trainer.data.generated.stories.trade import SCENES as TRADE
from latent_trainer.data.problem import Problem
from latent_trainer.errors import InputError

SCENES = {scene.name: scene for scene in (*HOME, *PLACES, *TRADE, *PLAY)}
OPERATIONS = {
    "+": lambda value, operand: value + operand,
    "-": lambda value, operand: value - operand,
    "*": lambda value, operand: value * operand,
    "/": lambda value, operand: value / operand,
}
SHE = ["Mia", "Ann", "Zoe", "Eva", "Ida", "Nina", "Lily", "Emma", "Ruth", "Jane", "Rosa", "Amy", "Tina", "Leah"]
HE = ["Tom", "Ben", "Leo", "Max", "Sam", "Paul", "Omar", "Jack", "Adam", "Noah", "Luke", "Ivan", "Dan", "Carl"]
# Sentences with a number that has nothing to do with what is asked.
ASIDES = (
    "{other} is {n} years old.",
    "{other} lives at number {n}.",
    "It is {n} degrees outside.",
    "The next bus has the number {n}.",
    "{other} has been waiting {n} minutes.",
    "The walk home takes {n} minutes.",
    "Last year {other} read {n} poems.",
    "The radio plays on channel {n}.",
    "{other} wears a shirt with the number {n}.",
    "Room {n} is empty.",
)
ID = re.compile(r"stories/(?P<scene>\w+)/(?P<chain>\d+(?:[-+*/]\d+)+):(?P<wording>\d+)(?::(?P<aside>\d+))?")


@dataclass(frozen=True)
class Story:
    """One word problem.

    Args:
        scene: a key of ``SCENES``.
        start: the first number.
        operations: signs and operands, in the order of the text.
        wording: decides names, things, phrases and how the sentences are joined; no number.
        aside: the number of a sentence that does not matter; None leaves the sentence out.
    """

    scene: str
    start: int
    operations: tuple[tuple[str, int], ...]
    wording: int
    aside: int | None = None

    @classmethod
    def of(cls, problem: Problem) -> "Story":
        """Return the story a problem tells, from its id; an `InputError` where it tells none."""
        found = ID.fullmatch(problem.id)
        if found is None or found["scene"] not in SCENES:
            raise InputError(
                f"{problem.named} is not a problem of the data set stories; load it with load_problems('stories')"
            )
        start, *rest = re.findall(r"[-+*/]?\d+", found["chain"])
        aside = None if found["aside"] is None else int(found["aside"])
        operations = tuple((one[0], int(one[1:])) for one in rest)
        return cls(found["scene"], int(start), operations, int(found["wording"]), aside)

    @property
    def chain(self) -> str:
        """The numbers that matter, as they are worked from left to right: "12+7-5"."""
        return str(self.start) + "".join(f"{sign}{operand}" for sign, operand in self.operations)

    @property
    def values(self) -> list[Fraction]:
        """The running value after every operation."""
        values = [Fraction(self.start)]
        for sign, operand in self.operations:
            values.append(OPERATIONS[sign](values[-1], operand))
        return values[1:]

    def problem(self) -> Problem:
        """Return the problem: question, one equation a step, answer."""
        befores = [Fraction(self.start), *self.values]
        steps = [
            f"{before}{sign}{operand}={value}"
            for before, (sign, operand), value in zip(befores, self.operations, self.values, strict=False)
        ]
        aside = "" if self.aside is None else f":{self.aside}"
        name = f"stories/{self.scene}/{self.chain}:{self.wording}{aside}"
        return Problem(self.text, tuple(steps), str(self.values[-1]), name, self.scene, len(steps))

    @property
    def text(self) -> str:
        """The question as it is told."""
        scene, rng = SCENES[self.scene], random.Random(self.wording)
        she = rng.random() < 0.5
        name, other = rng.sample(SHE if she else HE, 2)
        pronoun = ("She" if she else "He") if "{name}" in scene.subject else "It"
        words = {"name": name, "things": rng.choice(scene.things.split())}
        first = f"{scene.subject} {scene.begins}".format(n=self.start, **words)
        phrases = [rng.choice(scene.phrases(sign)).format(n=operand, **words) for sign, operand in self.operations]
        told = rng.choice(JOINS)(first, pronoun, phrases)
        ask = scene.ask.format(**words)
        if self.aside is None:
            return f"{told} {ask}"
        aside = rng.choice(ASIDES).format(n=self.aside, other=other)
        return f"{aside} {told} {ask}" if self.leads else f"{told} {aside} {ask}"

    @property
    def leads(self) -> bool:
        """Whether the sentence that does not matter comes first; else it stands before the question."""
        return self.wording % 2 == 0

    def with_number(self, place: int, value: int) -> "Story":
        """Return this story with another number, everything else told as before.

        Args:
            place: which number of the text, from 0.
            value: what stands there instead.

        Raises:
            InputError: there is no such number, or the story has no whole answer then.
        """
        told = 1 + len(self.operations)
        numbers = list(range(told)) if self.aside is None else [-1, *range(told)] if self.leads else [*range(told), -1]
        if not 0 <= place < len(numbers):
            raise InputError(f"place={place}: the question has {len(numbers)} numbers, counted from 0")
        which = numbers[place]
        if which == -1:
            return replace(self, aside=value)
        if which == 0:
            changed = replace(self, start=value)
        else:
            operations = list(self.operations)
            operations[which - 1] = (operations[which - 1][0], value)
            changed = replace(self, operations=tuple(operations))
        if value < 1 or any(one < 0 or one.denominator != 1 for one in changed.values):
            raise InputError(f"number {place} cannot be {value}: {changed.chain} leaves the whole numbers from 0 on")
        return changed


def _listed(phrases: list[str]) -> str:
    """Join phrases to a list: "a, b, then c"."""
    return phrases[0] if len(phrases) == 1 else f"{', '.join(phrases[:-1])}, then {phrases[-1]}"


JOINS = (
    lambda first, pronoun, phrases: f"{_listed([first, *phrases])}.",
    lambda first, pronoun, phrases: f"{first}. {pronoun} {_listed(phrases)}.",
    lambda first, pronoun, phrases: (
        f"{_listed([first, phrases[0]])}. {pronoun} {_listed(phrases[1:])}."
        if len(phrases) > 1
        else f"{first}, then {phrases[0]}."
    ),
)
