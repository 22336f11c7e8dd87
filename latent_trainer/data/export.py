"""Writing problems to the formats the loaders read, and checking a file somebody wrote."""

import json
from dataclasses import asdict
from pathlib import Path

from datasets import Dataset

from latent_trainer.data import jsonl, textbook
from latent_trainer.data.files import read_rows
from latent_trainer.errors import InputError, check_choice
from latent_trainer.problem import Problem

SUFFIXES = (".json", ".jsonl", ".parquet")


def export(problems: list[Problem], path: str) -> None:
    """Write problems in one piece; the file's suffix says how.

    Args:
        problems: what to write.
        path: ``.json`` for the textbook format, ``.jsonl`` or ``.parquet``.

    Raises:
        ValueError: another suffix.
    """
    target = Path(path)
    check_choice("suffix of the file", target.suffix, SUFFIXES)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(target.name + ".partial")
    rows = [{**asdict(problem), "steps": list(problem.steps)} for problem in problems]
    for row in rows:
        del row["place"]  # of the file it was read from, which is not this one
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
        partial.write_text(json.dumps(entries, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    elif target.suffix == ".jsonl":
        partial.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    else:
        Dataset.from_list(rows).to_parquet(str(partial))
    partial.replace(target)


def validate(path: str) -> tuple[list[Problem], list[str]]:
    """Return the problems of a file, and one line for every entry that is wrong.

    Args:
        path: a file with one of ``SUFFIXES``.

    Raises:
        ValueError: another suffix, or a file that cannot be read at all.
        FileNotFoundError: the file does not exist.
    """
    check_choice("suffix of the file", Path(path).suffix, SUFFIXES)
    is_textbook = Path(path).suffix == ".json"
    rows = textbook.read_entries(path) if is_textbook else read_rows(path)
    problems, faults, places = [], [], {}
    for row, place in rows:
        try:
            if is_textbook:
                textbook.entry_type(row, place)
            problem = (textbook if is_textbook else jsonl).problem(row, place)
        except InputError as error:
            faults.append(str(error))
            continue
        if problem.question in places:
            faults.append(f"{place}: the same question as {places[problem.question]}")
        else:
            problems.append(problem)
        places.setdefault(problem.question, place)
    return problems, faults
