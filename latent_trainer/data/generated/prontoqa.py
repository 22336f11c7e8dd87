"""ProntoQA: true or false, is Sally bitter? Chains of made-up concepts, generated or from the published files.

The questions of Saparov and He 2023 ("Language Models Are Greedy Reasoners"), fictional ontology, random order, as Coconut
uses them with five hops: ``question`` is the facts and the query, ``steps`` are pairs of sentences of the published chain of
thought, ``answer`` is True or False. A chain of concepts, each with a property or without one of its opposite, decides the
question; a fact of another concept says the opposite of what is asked, so that matching words does not help.
"""

import random
import zlib
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated

from latent_trainer.data import values
from latent_trainer.data.files import Place
from latent_trainer.data.forms import check_form
from latent_trainer.data.problem import Problem
from latent_trainer.data.sources import jsonl
from latent_trainer.data.splits import load_split
from latent_trainer.errors import InputError
from latent_trainer.options import Bounds, Positive

SIZES = {"train": 9_000, "validation": 200, "test": 800}  # as Coconut divides the 10,000 it generates
SHARES = {"train": range(0, 90), "validation": range(90, 95), "test": range(95, 100)}
ENTITIES = ("Alex", "Fae", "Max", "Polly", "Rex", "Sally", "Sam", "Stella", "Wren")
CONCEPTS = (
    "dumpus",
    "impus",
    "jompus",
    "lempus",
    "numpus",
    "rompus",
    "sterpus",
    "tumpus",
    "vumpus",
    "wumpus",
    "yumpus",
    "zumpus",
)
PROPERTIES = (
    ("blue", "red", "brown", "orange"),
    ("small", "large"),
    ("metallic", "wooden", "luminous", "liquid"),
    ("transparent", "opaque"),
    ("nervous", "happy", "feisty", "shy"),
    ("bright", "dull"),
    ("sweet", "sour", "spicy", "bitter"),
    ("floral", "fruity", "earthy"),
    ("hot", "cold", "temperate"),
    ("kind", "mean", "angry", "amenable", "aggressive"),
)
FORMS = ("Every {one} is {what}.", "Each {one} is {what}.", "{many} are {whats}.")
BEYOND = 3  # concepts at most that the chain goes on for, behind the one that decides
MAX_DRAWS = 20_000  # without a new question
Hops = Annotated[int, Bounds(least=1, most=8)]


@dataclass(frozen=True)
class Fact:
    """What is said of a concept.

    Args:
        subject: the concept.
        what: another concept, or a property.
        is_concept: which of the two.
        holds: whether it is so, or is not.
    """

    subject: str
    what: str
    is_concept: bool
    holds: bool = True

    def sentence(self, rng: random.Random) -> str:
        """Return it in one of three wordings."""
        no = "" if self.holds else "not "
        what, whats = (f"{_article(self.what)}", f"{self.what}es") if self.is_concept else (self.what, self.what)
        many = f"{self.subject}es".capitalize()
        return rng.choice(FORMS).format(one=self.subject, many=many, what=no + what, whats=no + whats)


def load(
    split: str,
    path: str | None = None,
    seed: int = 0,
    validation_path: str | None = None,
    test_path: str | None = None,
    columns: dict[str, str] | None = None,
    size: Positive | None = None,
    min_hops: Hops = 5,
    max_hops: Hops = 5,
) -> list[Problem]:
    """Generate questions, or load published files: what ProntoQA's own program writes, or Coconut's rows of it.

    Args:
        split: train, validation or test; generated ones never share a chain.
        path: train rows: an object of examples with a ``test_example`` each, or rows of ``question``, ``steps``, ``answer``.
        seed: decides which questions are drawn; with files, which are held out for validation.
        validation_path, test_path: files of these splits.
        columns: field -> column, for files with other names.
        size: number of generated problems.
        min_hops, max_hops: fewest and most facts that a generated chain uses, its difficulty.

    Raises:
        InputError: a row that is wrong (names file and row), an option of generated problems with a file, more hops at least
            than at most, or fewer different questions exist than asked for.
        FileNotFoundError: a file does not exist.
    """
    if (path, validation_path, test_path) != (None, None, None):
        if (size, min_hops, max_hops) != (None, 5, 5):
            raise InputError("size, min_hops and max_hops are of generated problems; leave them out, or the files")
        return load_split("prontoqa", problem, split, seed, path, validation_path, test_path, columns)
    if columns is not None:
        raise InputError("columns names columns of files; give dataset_path, or leave it out")
    if min_hops > max_hops:
        raise InputError(f"min_hops={min_hops} is above max_hops={max_hops}; lower it")
    size = SIZES[split] if size is None else size
    rng = random.Random(f"prontoqa/{split}/{seed}/{min_hops}/{max_hops}")
    found: dict[str, Problem] = {}
    draws = 0
    while len(found) < size:
        draws += 1
        if draws > MAX_DRAWS:
            raise InputError(f"dataset 'prontoqa', split '{split}': size={size} is too many, about {len(found)} exist")
        chain, one = draw(rng, min_hops + len(found) % (max_hops - min_hops + 1))
        if one.id not in found and zlib.crc32(chain.encode()) % 100 in SHARES[split]:
            found[one.id] = one
            draws = 0
    return list(found.values())


def problem(row: dict, place: Place) -> Problem:
    """Return a published row as a problem.

    Raises:
        InputError: a field is missing or of the wrong kind.
    """
    check_form(row, "prontoqa", place)
    if "test_example" not in row:
        return jsonl.read_fields(row, place)
    example = row["test_example"]
    if not isinstance(example, dict):
        raise InputError(f"{place}: field 'test_example' must be an object of question, query, chain_of_thought and answer")
    texts = values.steps(example, "chain_of_thought", place)
    return Problem(
        f"{values.text(example, 'question', place).strip()} {values.text(example, 'query', place).strip()}",
        tuple(paired(texts)),
        values.answer(example, "answer", place),
        place.id,
        place=str(place),
    )


def paired(sentences: tuple[str, ...] | list[str]) -> list[str]:
    """Return a chain of thought two sentences a step, as Coconut cuts it; the conclusion is the last step."""
    return [" ".join(sentences[first : first + 2]) for first in range(0, len(sentences), 2)]


def draw(rng: random.Random, hops: int) -> tuple[str, Problem]:
    """Draw a chain that ``hops`` facts decide, and a question about it."""
    length = hops + rng.randint(0, min(BEYOND, len(CONCEPTS) - 1 - hops))
    *chain, stranger = rng.sample(CONCEPTS, length + 1)
    families = [list(family) for family in PROPERTIES]
    properties = {concept: _property(rng, families) for concept in chain}
    asked, holds = properties[chain[hops - 1]]
    facts = [Fact(one, other, True) for one, other in pairwise(chain)]
    facts += [Fact(concept, what, False, is_so) for concept, (what, is_so) in properties.items()]
    facts.append(Fact(stranger, asked, False, not holds))  # of whom nobody is one
    rng.shuffle(facts)
    told = {(fact.subject, fact.what): fact.sentence(rng) for fact in facts}
    entity = rng.choice(ENTITIES)
    thought = [f"{entity} is {_article(chain[0])}."]
    for one, other in pairwise(chain[:hops]):
        thought += [told[one, other], f"{entity} is {_article(other)}."]
    thought += [told[chain[hops - 1], asked], _claim(entity, asked, holds)]
    sentences = list(told.values())
    sentences.insert(rng.randint(0, len(sentences)), thought[0])
    claimed = rng.random() < 0.5
    question = f"{' '.join(sentences)} True or false: {_claim(entity, asked, claimed)}"
    decides = f"{'-'.join(chain[:hops])}-{'' if holds else 'not-'}{asked}"
    name = f"prontoqa/{decides}/{entity}-{'' if claimed else 'not-'}{asked}"
    return decides, Problem(question, tuple(paired(thought)), str(claimed == holds), name, difficulty=hops)


def _property(rng: random.Random, families: list[list[str]]) -> tuple[str, bool]:
    """Take a property of a family of its own, and whether it holds."""
    family = families.pop(rng.randrange(len(families)))
    return rng.choice(family), rng.random() < 2 / 3


def _article(concept: str) -> str:
    return f"{'an' if concept[0] in 'aeiou' else 'a'} {concept}"


def _claim(entity: str, what: str, holds: bool) -> str:
    return f"{entity} is {'' if holds else 'not '}{what}."
