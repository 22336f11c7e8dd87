"""Answers that survive an interruption: what is read back, what is refused, what is taken away."""

import json

import pytest

from latent_trainer.errors import InputError
from latent_trainer.evaluation.generation import Answer
from latent_trainer.evaluation.journal import Journal

HEADER = {"condition": "intact", "model": "m", "num_latents": 3, "sampling": {"seed": 0}, "template": ("a",)}


def answer(id: str, sample: int = 0) -> Answer:
    return Answer(id, sample, "1", f"text of {id} ⅓\n", "1", None, True, False, 4, 3, 6, 0.1, 0.2)


def parts(path) -> list[str]:
    return sorted(place.name for place in path.parent.iterdir() if ".part" in place.name)


def write(path, *answers: Answer, process: int = 0) -> None:
    """Write what a run leaves behind that was interrupted after these answers."""
    journal = Journal(path, HEADER)
    journal.append(list(answers), process)
    journal.close()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "answers" / "intact.jsonl"


def test_resume_and_finish(path):
    """A second run knows the first one's answers; the finished file holds all in the order asked for and no part remains."""
    assert Journal(path, HEADER).answers == {}
    write(path, answer("a"), answer("b"), answer("b", 1))
    assert parts(path) == ["intact.jsonl.part-0000-0"]
    second = Journal(path, HEADER)
    assert second.answers == {(one.id, one.sample): one for one in (answer("a"), answer("b"), answer("b", 1))}
    second.append([answer("c")])
    assert len(parts(path)) == 2
    ordered = [answer("c"), answer("b", 1), answer("a"), answer("b")]
    second.finish(ordered)
    assert [place.name for place in path.parent.iterdir()] == ["intact.jsonl"]
    header, *rows = map(json.loads, path.read_text().splitlines())
    assert header == {**HEADER, "template": ["a"]}
    assert [(row["id"], row["sample"]) for row in rows] == [("c", 0), ("b", 1), ("a", 0), ("b", 0)]
    assert list(Journal(path, HEADER).answers.values()) == ordered


def test_answers_are_on_the_disk_at_once(path):
    journal = Journal(path, HEADER)
    for number in range(3):
        journal.append([answer(str(number))])
        assert len(Journal(path, HEADER).answers) == number + 1
    journal.close()


def test_parts_of_processes_and_runs_are_joined(path):
    """Two processes of each of three runs, one of which found all numbers taken."""
    for run in range(3):
        processes = [Journal(path, HEADER) for _ in range(2)]
        for process, journal in enumerate(processes):
            journal.append([answer(f"{run}-{process}")], process)
            journal.close()
    assert len(parts(path)) == 6
    last = Journal(path, HEADER)
    assert sorted(id for id, _ in last.answers) == [f"{run}-{process}" for run in range(3) for process in range(2)]
    last.finish(list(last.answers.values()))
    assert parts(path) == [] and len(Journal(path, HEADER).answers) == 6


def test_a_finished_file_and_newer_parts(path):
    """A kill between writing the file and taking the parts away changes nothing."""
    journal = Journal(path, HEADER)
    journal.append([answer("a")])
    copy = {place: place.read_bytes() for place in path.parent.iterdir()}
    journal.finish([answer("a"), answer("b")])
    for place, content in copy.items():
        place.write_bytes(content)
    assert set(Journal(path, HEADER).answers) == {("a", 0), ("b", 0)}


@pytest.mark.parametrize("cut", [1, 3, 40, 10_000])
def test_a_torn_line_is_left_out(path, cut):
    """Cut anywhere in the last line, its newline included; the lines before it count."""
    write(path, answer("a"), answer("b"))
    place = path.parent / parts(path)[0]
    content = place.read_bytes()
    last = content.rindex(b"\n", 0, -1) + 1
    place.write_bytes(content[: max(last + 1, len(content) - cut)])
    assert set(Journal(path, HEADER).answers) == {("a", 0)}


def test_a_character_cut_in_two_is_left_out(path):
    write(path, answer("a"))
    with open(path.parent / parts(path)[0], "ab") as file:
        file.write("⅓".encode()[:2])
    assert set(Journal(path, HEADER).answers) == {("a", 0)}


@pytest.mark.parametrize("kept", [0, 1, 20])
def test_a_torn_header_holds_nothing(path, kept):
    write(path)
    place = path.parent / parts(path)[0]
    place.write_bytes(place.read_bytes()[:kept])
    journal = Journal(path, HEADER)
    assert journal.answers == {}
    journal.append([answer("a")])
    assert set(Journal(path, HEADER).answers) == {("a", 0)}
    journal.finish([answer("a")])
    assert parts(path) == []


@pytest.mark.parametrize("finished", [True, False])
def test_other_settings_are_refused(path, finished):
    """In one line that names the settings that differ, and no other."""
    journal = Journal(path, HEADER)
    journal.append([answer("a")])
    journal.finish([answer("a")]) if finished else journal.close()
    other = {**HEADER, "num_latents": 4, "sampling": None, "batch": 1}
    del other["template"]
    with pytest.raises(InputError) as caught:
        Journal(path, other)
    assert "(other batch, num_latents, sampling, template)" in str(caught.value)
    assert "\n" not in str(caught.value) and "--output" in str(caught.value)


@pytest.mark.parametrize("content", ["not json\n", "5\n", "[1, 2]\n", "null\n", "{}\nnot json\n", '{"a": 1}\n5\n', "\n"])
def test_a_malformed_file_is_refused(path, content):
    path.parent.mkdir()
    path.write_text(content)
    with pytest.raises(InputError, match=r"intact\.jsonl is not a file of answers; choose another --output"):
        Journal(path, HEADER)


def test_a_row_of_another_version_is_refused(path):
    write(path, answer("a"))
    with open(path.parent / parts(path)[0], "a") as file:
        file.write('{"id": "b"}\n')
    with pytest.raises(InputError, match="not a file of answers"):
        Journal(path, HEADER)


def test_settings_that_json_changes_are_the_same(path):
    """A tuple comes back as a list; the same settings are not refused."""
    write(path, answer("a"))
    assert Journal(path, HEADER).answers
