"""Writing problems to the formats the loaders read."""

import json
from dataclasses import asdict
from pathlib import Path

from datasets import Dataset

from latent_trainer.data.problem import Problem
from latent_trainer.errors import InputError, check_choice
from latent_trainer.whole_files import replacing, write_json

SUFFIXES = (".json", ".jsonl", ".parquet")


def export(problems: list[Problem], path: str) -> None:
    """Write problems in one piece; the file's suffix says how.

    Args:
        problems: what to write.
        path: ``.json`` for the textbook format, ``.jsonl`` or ``.parquet``.

    Raises:
        ValueError: another suffix, or problems with a check of their own in the textbook format.
    """
    target = Path(path)
    check_choice("suffix of the file", target.suffix, SUFFIXES)
    rows = [{**asdict(problem), "steps": list(problem.steps)} for problem in problems]
    checked = any(problem.check for problem in problems)
    if checked and target.suffix == ".json":
        raise InputError(f"{path}: the textbook format has no field for a check of answers; write .jsonl or .parquet")
    for row in rows:
        del row["place"]  # of the file it was read from, which is not this one
        if not checked:
            del row["check"]
    if target.suffix == ".json":
        entries = [
            {
                "exercise": row["id"],
                "text": row["question"],
                "type": "answer-based",
                "answer": row["answer"],
                "steps": row["steps"],
                "family": row["family"],
            }
            for row in rows
        ]
        write_json(target, entries, indent=1, ensure_ascii=False)
        return
    with replacing(target) as partial:
        if target.suffix == ".jsonl":
            partial.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
        else:
            Dataset.from_list(rows).to_parquet(str(partial))
