"""Answers written as they come, so that an interrupted evaluation goes on where it stopped."""

import contextlib
import json
import os
from dataclasses import asdict
from pathlib import Path

from latent_trainer.errors import InputError, TrainingError
from latent_trainer.evaluation.generation import Answer
from latent_trainer.whole_files import reason, replacing


class Journal:
    """A ``.jsonl`` file of answers; its first line says of which evaluation.

    Every process of every run writes to a part of its own and flushes it to the disk after each batch; `finish` joins the
    parts. A line that a kill has cut in two is left out when the parts are read again, so its problem is answered anew.

    Args:
        path: the finished file; parts lie beside it.
        header: settings that decide the answers.

    Raises:
        ValueError: the file holds answers of another evaluation; names the settings that differ.
    """

    def __init__(self, path: str | Path, header: dict):
        self.path = Path(path)
        self.header = json.loads(json.dumps(header))
        self.answers: dict[tuple[str, int], Answer] = {}
        self._part = None
        for place in [self.path, *self._parts()]:
            if place.is_file():
                self._read(place)

    def _parts(self) -> list[Path]:
        return sorted(self.path.parent.glob(f"{self.path.name}.part-*"))

    def _read(self, place: Path) -> None:
        lines = place.read_text(encoding="utf-8", errors="replace").split("\n")[:-1]  # what follows the last is cut in two
        if not lines:
            return
        other = InputError(f"{place} is not a file of answers; choose another --output or delete the file")
        try:
            header, *rows = (dict(json.loads(line)) for line in lines)
        except (ValueError, TypeError):
            raise other from None
        differing = sorted(name for name in {*header, *self.header} if header.get(name) != self.header.get(name))
        if differing:
            raise InputError(
                f"{place} holds answers of another evaluation (other {', '.join(differing)}); "
                "choose another --output or delete the file"
            )
        try:
            answers = [Answer(**row) for row in rows]
        except TypeError:  # fields of another version of the library
            raise other from None
        self.answers |= {(answer.id, answer.sample): answer for answer in answers}

    def append(self, answers: list[Answer], process: int = 0) -> None:
        """Write answers to this run's part; they are on the disk when this returns.

        Raises:
            TrainingError: the disk is full, or something else keeps them from it; earlier answers stay.
        """
        if self._part is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            number = len(self._parts())
            while (part := self.path.with_name(f"{self.path.name}.part-{number:04}-{process}")).exists():
                number += 1
            self._part = open(part, "x", encoding="utf-8")  # noqa: SIM115 - stays open as long as the evaluation runs
            self._part.write(json.dumps(self.header) + "\n")
        try:
            self._part.writelines(json.dumps(asdict(answer)) + "\n" for answer in answers)
            self._part.flush()
            os.fsync(self._part.fileno())
        except OSError as error:
            with contextlib.suppress(OSError):  # it tries once more to write the rest
                self._part.close()
            self._part = None
            raise TrainingError(
                f"cannot write answers to {self.path}: {reason(error)}; free some space and run it again to resume"
            ) from error

    def close(self) -> None:
        """Close this run's part."""
        if self._part is not None:
            self._part.close()
            self._part = None

    def finish(self, answers: list[Answer]) -> None:
        """Write all answers in their order into the finished file and take the parts away."""
        self.close()
        rows = [self.header, *map(asdict, answers)]
        with replacing(self.path) as partial:
            partial.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        for part in self._parts():
            part.unlink()
