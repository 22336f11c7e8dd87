"""A scene: the words one kind of story is told in."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Scene:
    """The words of a story, without its numbers. Every phrase is a verb phrase that follows the subject.

    Args:
        name: what the scene is called in ids and tables.
        subject: who or what the story is about; "{name}" is a person.
        begins: the phrase with the first number ``{n}`` and, where the scene has several, the ``{things}``.
        things: what is counted, one plural a choice; apart by blanks.
        more: phrases that add ``{n}``; apart by bars, like the three after it.
        less: phrases that take ``{n}`` away.
        times: phrases that multiply by ``{n}``.
        parts: phrases that divide by ``{n}``.
        ask: the question at the end.
    """

    name: str
    subject: str
    begins: str
    things: str
    more: str
    less: str
    times: str
    parts: str
    ask: str

    def phrases(self, sign: str) -> list[str]:
        """Return the phrases of an operation: "+", "-", "*" or "/"."""
        return {"+": self.more, "-": self.less, "*": self.times, "/": self.parts}[sign].split(" | ")
