"""The data set of stories: what a story tells is what its steps work out, and no split sees the numbers of another."""

import hashlib
import re

import pytest

from latent_trainer.data import CONTINUATIONS, as_problems, load_problems
from latent_trainer.data.generated.stories import HELD_OUT, MOST, Story, changed
from latent_trainer.data.generated.stories.story import ASIDES, HE, SCENES, SHE
from latent_trainer.errors import InputError

SPLITS = ("train", "validation", "test", "test_templates")
SIGNS = "+-*/"
# of the first 2,000 training problems, which no file holds
DIGEST = "a33dcf7b61564bc25e4a50a89fd23b8e82584a450285d2401c4832c9782ef29c"


@pytest.fixture(scope="module")
def stories():
    return {split: as_problems(load_problems("stories", split, size=600, asides=0.3)) for split in SPLITS}


def pattern(scene, phrase):
    """Return the regular expression of a phrase with its number."""
    things = "|".join(map(re.escape, scene.things.split()))
    return re.escape(phrase).replace(r"\{n\}", r"(\d+)").replace(r"\{things\}", f"(?:{things})")


def read(question, scene):
    """Work a question out from its words alone; nothing of the generator but the phrases is used."""
    opening = re.search(pattern(scene, scene.begins), question)
    signs = {pattern(scene, phrase): sign for sign in SIGNS for phrase in scene.phrases(sign)}
    words = re.compile("|".join(f"(?:{one})" for one in sorted(signs, key=len, reverse=True)))
    value = int(opening[1])
    for found in words.finditer(question, opening.end()):
        (sign,) = {sign for one, sign in signs.items() if re.fullmatch(one, found[0])}
        number = int(next(group for group in found.groups() if group))
        value = {"+": value + number, "-": value - number, "*": value * number, "/": value // number}[sign]
    return value


def test_every_question_says_what_its_steps_work_out(stories):
    for problem in stories["train"] + stories["test_templates"]:
        assert read(problem.question, SCENES[problem.family]) == int(problem.answer), problem
        assert len(problem.steps) == problem.difficulty
        before = str(Story.of(problem).start)
        for step in problem.steps:
            left, right = step.split("=")
            assert re.match(r"\d+", left)[0] == before and eval(left) == int(right)
            assert 1 <= int(right) <= MOST
            before = right
        assert before == problem.answer


def test_sixty_scenes_and_every_phrase_has_one_number():
    assert len(SCENES) == 64 and len(HELD_OUT) == 16  # as the page on data says
    for scene in SCENES.values():
        phrases = [phrase for sign in SIGNS for phrase in scene.phrases(sign)]
        assert all(phrase.count("{n}") == 1 for phrase in [scene.begins, *phrases]), scene.name
        assert len(set(phrases)) == len(phrases), scene.name
        assert scene.ask.endswith("?")


def test_words_a_person_would_write(stories):
    """No name in a phrase, which may be the subject's own; no "1 bowls"; no clock that shows 75 past nine."""
    for scene in SCENES.values():
        phrases = " ".join(phrase for sign in SIGNS for phrase in scene.phrases(sign))
        assert not set(SHE + HE) & set(re.findall(r"\w+", phrases)), scene.name
    assert not any("clock" in aside for aside in ASIDES)
    assert not any(re.search(r"\b1\b", problem.question) for split in SPLITS for problem in stories[split])


def test_splits_share_neither_numbers_nor_held_out_scenes(stories):
    chains = {split: {Story.of(problem).chain for problem in problems} for split, problems in stories.items()}
    for one, other in (("train", "validation"), ("train", "test"), ("train", "test_templates"), ("validation", "test")):
        assert not chains[one] & chains[other]
    for split, problems in stories.items():
        scenes = {problem.family for problem in problems}
        assert scenes <= set(HELD_OUT) if split == "test_templates" else not scenes & set(HELD_OUT)
        assert len({problem.question for problem in problems}) == len({problem.id for problem in problems}) == 600


def test_same_bytes():
    rows = load_problems("stories", size=2_000).remove_columns("place").to_list()
    assert hashlib.sha256(repr([list(row.values()) for row in rows]).encode()).hexdigest() == DIGEST


def test_options_and_seed():
    again = [load_problems("stories", size=40, min_operations=3, max_operations=3, asides=0.0) for _ in range(2)]
    assert again[0].to_list() == again[1].to_list()
    assert again[0].to_list() != load_problems("stories", size=40, seed=1, min_operations=3, max_operations=3).to_list()
    assert {len(re.findall(r"\d+", row["question"])) for row in again[0]} == {4}
    assert {row["difficulty"] for row in load_problems("stories", size=40)} == {2, 3, 4, 5, 6}
    with pytest.raises(InputError, match="min_operations=4 is above max_operations=3"):
        load_problems("stories", min_operations=4, max_operations=3)
    with pytest.raises(InputError, match="reads no file"):
        load_problems("stories", path="somewhere")


def test_another_number_gives_the_answer_of_the_changed_text(stories):
    kept = tried = 0
    for problem in stories["test"]:
        places = re.findall(r"\d+", problem.question)
        for place, number in enumerate(places):
            try:
                other = changed(problem, place, int(number) + 1)
            except InputError as refusal:
                assert "leaves the whole numbers" in str(refusal)
                continue
            tried += 1
            expected = [str(int(number) + 1) if at == place else one for at, one in enumerate(places)]
            assert re.findall(r"\d+", other.question) == expected
            assert re.sub(r"\d+", "", other.question) == re.sub(r"\d+", "", problem.question)
            assert read(other.question, SCENES[problem.family]) == int(other.answer)
            kept += other.answer == problem.answer
    assert tried > 1000 and 0 < kept < tried / 4  # a number that does not matter leaves the answer as it is
    with pytest.raises(InputError, match="numbers, counted from 0"):
        changed(stories["test"][0], 99, 5)


def test_continuation_from_another_value(stories):
    continued = CONTINUATIONS["stories"]
    for problem in stories["validation"][:100]:
        for step, text in enumerate(problem.steps):
            assert continued(problem, step, text.split("=")[1]) == problem.answer
    assert continued(Story("bus", 5, (("+", 3), ("*", 2)), 0).problem(), 0, "9") == "18"
