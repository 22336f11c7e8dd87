"""A graph of who is what, read from the sentences that tell it and written to them."""

import re
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace

from latent_trainer.data.problem import Problem
from latent_trainer.errors import InputError

SENTENCE = re.compile(r"(?:Every (?P<concept>\w+)|(?P<entity>\w+)) is an? (?P<end>\w+)\.")
QUERY = re.compile(r"Is (?P<root>\w+) an? (?P<one>\w+) or (?:an? )?(?P<other>\w+)\?")


def reachable(edges: Iterable[tuple], start) -> dict:
    """Return what follows from a start: each end with the one before it on a shortest way.

    Of several shortest ways the one is taken whose edges are told first.
    """
    after: dict = {}
    for left, right in edges:
        after.setdefault(left, []).append(right)
    before, waiting = {start: None}, deque([start])
    while waiting:
        left = waiting.popleft()
        for right in after.get(left, ()):
            if right not in before:
                before[right] = left
                waiting.append(right)
    return before


@dataclass(frozen=True)
class Graph:
    """What a question of ProsQA tells and asks.

    Args:
        edges: (who or what, what it is), in the order of the sentences; names with a capital are entities.
        root: whom the question is about.
        options: the two concepts it names, in its order.
    """

    edges: tuple[tuple[str, str], ...]
    root: str
    options: tuple[str, str]

    @classmethod
    def read(cls, problem: Problem) -> "Graph":
        """Return the graph that a question tells, ours or a published one.

        Raises:
            InputError: a question of another form.
        """
        query = QUERY.search(problem.question)
        facts = problem.question[: query.start()] if query else ""
        found = list(SENTENCE.finditer(facts))
        if query is None or " ".join(one[0] for one in found).split() != facts.split():
            raise InputError(
                f"{problem.named} is not a question of ProsQA, such as 'Tom is a terpus. Every terpus is a lempus. Is Tom a "
                "lempus or rorpus?'"
            )
        edges = tuple((one["concept"] or one["entity"], one["end"]) for one in found)
        return cls(edges, query["root"], (query["one"], query["other"]))

    @property
    def sentences(self) -> list[str]:
        """One sentence an edge."""
        return [sentence(*edge) for edge in self.edges]

    @property
    def question(self) -> str:
        """The text of the question."""
        return f"{' '.join(self.sentences)} Is {self.root} a {self.options[0]} or {self.options[1]}?"

    def solution(self) -> tuple[list[str], str]:
        """Return the steps of a shortest way from the root to the option that it is, and the answer.

        Raises:
            InputError: the root is both or neither.
        """
        before = reachable(self.edges, self.root)
        right = [option for option in self.options if option in before]
        if len(right) != 1:
            both = "both" if right else "neither"
            raise InputError(f"{self.root} is {both} of {self.options[0]} and {self.options[1]}; one of them must follow")
        way, end = [], right[0]
        while before[end] is not None:
            way.insert(0, sentence(before[end], end))
            end = before[end]
        return way, sentence(self.root, right[0])

    def problem(self, name: str = "") -> Problem:
        """Return the problem: the facts and the question, a shortest chain as its steps, the answer as a sentence."""
        steps, answer = self.solution()
        return Problem(self.question, tuple(steps), answer, name, difficulty=len(steps))

    def with_edge(self, place: int, end: str) -> "Graph":
        """Return this graph with another end of an edge, everything else told as before.

        Args:
            place: which sentence, from 0.
            end: a concept of the graph that stands at its end instead.

        Raises:
            InputError: no such sentence or concept, or a chain that comes back to where it began.
        """
        if not 0 <= place < len(self.edges):
            raise InputError(f"place={place}: the question has {len(self.edges)} sentences, counted from 0")
        start = self.edges[place][0]
        if end not in {right for _, right in self.edges}:
            raise InputError(f"end='{end}' is no concept of the question; take one that a sentence ends with")
        rest = self.edges[:place] + self.edges[place + 1 :]
        if start in reachable(rest, end) or (start, end) in rest:
            raise InputError(f"sentence {place} cannot end with '{end}': it would be told twice, or lead back to {start}")
        return replace(self, edges=(*self.edges[:place], (start, end), *self.edges[place + 1 :]))


def sentence(left: str, right: str) -> str:
    """Return an edge as a sentence."""
    return f"{left} is a {right}." if left[0].isupper() else f"Every {left} is a {right}."
