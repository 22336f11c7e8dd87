"""ProsQA as it is published: a JSON list of ``{"question", "steps", "answer", ...}``, read from a file.

Source: Hao et al. 2024, "Training Large Language Models to Reason in a Continuous Latent Space", section 4.
"""

import json
import zlib
from pathlib import Path

from latent_trainer import register_dataset
from latent_trainer.errors import InputError


@register_dataset("chains")
def load(split, path=None, seed=0, held_out: int = 10):
    """Return the problems of a split.

    Args:
        split: train, validation or test.
        path: the file.
        seed: decides which questions are held out.
        held_out: every so many questions one is held out for validation, and one for the test.
    """
    if path is None:
        raise InputError("dataset 'chains' reads a file; give dataset_path")
    parts = {0: "validation", 1: "test"}
    problems = []
    for number, row in enumerate(json.loads(Path(path).read_text(encoding="utf-8"))):
        drawn = zlib.crc32(f"{seed}/{row['question']}".encode()) % held_out
        if parts.get(drawn, "train") == split:
            fields = {name: row[name] for name in ("question", "steps", "answer")}
            problems.append({**fields, "id": f"prosqa/{number}"})
    return problems
