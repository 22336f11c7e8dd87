"""What a mutation is: one line of the library made wrong, and the tests that should notice."""

import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Mutation:
    """One line of one file, made wrong.

    Args:
        file: path in the project.
        before: a part of one line that occurs once in the file.
        after: what stands there instead.
        tests: words for pytest that select the tests that should notice, as few and as quick as can be.
        wrong: what is wrong then, in a few words; no two mutations share them.
        survives: why no test can notice, where none does.
    """

    file: str
    before: str
    after: str
    tests: str
    wrong: str
    survives: str = ""

    @property
    def test_files(self) -> list[str]:
        """Paths of the files of tests among the words."""
        return [word.partition("::")[0] for word in shlex.split(self.tests) if word.partition("::")[0].endswith(".py")]

    def mutated(self, folder: Path) -> str:
        """Return the text of the file with the mutation in it.

        Raises:
            ValueError: ``before`` is no part of one line that occurs once in the file, or equals ``after``.
        """
        text = (folder / self.file).read_text(encoding="utf-8")
        number = text.count(self.before)
        if number != 1 or "\n" in self.before or self.before == self.after:
            raise ValueError(f"{self.file}: {self.before!r} must be part of one line, once; it occurs {number} times")
        return text.replace(self.before, self.after)
