"""The list of mutations fits the library, and the record fits the list; `make mutations` runs them."""

import ast
import json
import re
import shlex

import pytest
from areas import AREAS
from mutation import ROOT, Mutation

EVERY = [one for mutations in AREAS.values() for one in mutations]
LEAST = 60
MOST_SURVIVORS = 2


def test_there_are_enough():
    assert len(EVERY) >= LEAST
    assert len({one.wrong for one in EVERY}) == len({(one.file, one.before, one.after) for one in EVERY}) == len(EVERY)


def test_every_mutation_fits():
    """Its line is there once, what it becomes is a program, and the tests it names exist."""
    for one in EVERY:
        ast.parse(one.mutated(ROOT))
        texts = [(ROOT / name).read_text(encoding="utf-8") for name in one.test_files]
        words = shlex.split(one.tests)
        names = re.findall(r"\btest_\w+", words[words.index("-k") + 1] if "-k" in words else "")
        assert texts and all(any(f"def {name}" in text for text in texts) for name in names), one.tests


@pytest.mark.parametrize("before", ["not there", "import", "import torch\nfrom torch", "import contextlib"])
def test_a_line_that_does_not_fit(before):
    """Text that is nowhere, in several places or on two lines, or that stays as it is."""
    one = Mutation("latent_trainer/rollout/fast/unread.py", before, "import contextlib", "tests/test_unread.py", "nothing")
    with pytest.raises(ValueError, match=r"unread\.py"):
        one.mutated(ROOT)


def test_the_record_is_whole():
    record = json.loads((ROOT / "results" / "mutations.json").read_text(encoding="utf-8"))
    rows = [(row["file"], row["before"], row["after"]) for row in record["rows"].values()]
    assert rows == [(one.file, one.before, one.after) for one in EVERY]
    survivors = [row for row in record["rows"].values() if row["outcome"] == "survived"]
    assert len(survivors) <= MOST_SURVIVORS and all(row["why"] for row in survivors)
