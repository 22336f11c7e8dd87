"""The audit's page: whole in one file, every figure told in words and numbers, narrow enough for a phone."""

import json
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
from analysis.constructed import constructed, digits, evaluator, other_digits

from latent_trainer.analysis.audit import charts
from latent_trainer.analysis.audit.battery import Battery
from latent_trainer.analysis.audit.checkpoints import over_training
from latent_trainer.analysis.audit.parts import PARTS, audit
from latent_trainer.analysis.audit.report import figures, page
from latent_trainer.evaluation.record import environment

SVG = "{http://www.w3.org/2000/svg}"
VOID = ("meta", "link", "br", "img")
NAMES = {
    *("arms-accuracy", "arms-unchanged", "early", "influence", "steps", "counterfactual"),
    *("rank", "ablated", "token", "correctness", "gold-steps", "checkpoints"),
}


class Reader(HTMLParser):
    """Keep tags with their attributes; every tag that is opened must be closed in its turn."""

    def __init__(self):
        super().__init__()
        self.open, self.tags = [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def record():
    """Return the record of an audit with every part."""
    model, tokenizer = constructed("carries")
    problems = [one if one.answer not in "345" else type(one)(one.question, one.steps, "0", one.id) for one in digits()]
    own = Battery(evaluator(model, tokenizer, problems))
    found = audit(own, list(PARTS), other_digits, most=20, say=str)
    found["checkpoints"] = over_training(
        [(step, lambda: Battery(evaluator(model, tokenizer, problems[:20]))) for step in (1, 2)]
    )
    config = {"model": "<b>me</b>/model", "dataset": "digits & more", "split": "test", "plugin": None}
    return {**found, **environment(), "problems": 90, "seconds": 1.0, "data_hash": "0" * 64, "config": config}


@pytest.fixture(scope="module")
def read(record):
    """Return the page and its tags."""
    reader = Reader()
    text = page(record)
    reader.feed(text)
    assert reader.open == []
    return text, reader.tags


def test_nothing_is_outside_the_page(read):
    """No script, no reference, no address; and a policy that lets a browser load nothing."""
    text, tags = read
    assert not {tag for tag, _ in tags} & {"script", "link", "img", "iframe", "object", "embed", "a", "form", "use", "image"}
    for _, attributes in tags:
        assert not {
            name for name in attributes if name in ("src", "href", "xlink:href", "data", "srcset") or name.startswith("on")
        }
    addresses = set(re.findall(r"[a-z]+://[^\"'<> ]+", text))
    assert addresses == {"http://www.w3.org/2000/svg"}  # the name of a language, which nobody asks for
    assert "url(" not in text and "@import" not in text
    (policy,) = (one["content"] for tag, one in tags if one.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")


def test_every_figure_is_told_in_words_and_numbers(record, read):
    text, tags = read
    drawn = figures(record)
    assert set(drawn) == NAMES
    assert [one["id"] for tag, one in tags if tag == "figure"] == list(drawn)
    assert sum(tag == "details" for tag, _ in tags) == len(drawn) + 1
    for name, chart in drawn.items():
        svg = ElementTree.fromstring(chart.svg)
        assert svg.get("role") == "img" and svg.get("aria-labelledby") == f"{name}-title {name}-desc"
        assert svg.find(f"{SVG}title").text == chart.title and len(svg.find(f"{SVG}desc").text) > 20
        assert chart.rows and all(len(row) == len(chart.headings) for row in chart.rows), name
        assert chart.svg in text


def test_a_page_drawn_from_the_file_is_the_same(record, read):
    """A record's file has its names in the order of the alphabet; no figure depends on it."""
    assert page(json.loads(json.dumps(record, sort_keys=True))) == read[0]


def test_what_others_wrote_is_text(read):
    text, _ = read
    assert "&lt;b&gt;me&lt;/b&gt;/model" in text and "<b>me" not in text and "digits &amp; more" in text


def test_it_is_narrow(read, record):
    """A chart is as wide as a phone, its words at their size there within its edges; wide tables move in their own frame."""
    text, tags = read
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in [one for _, one in tags]
    assert text.count('<div class="wide"') == text.count("<table>") and ".wide { overflow-x: auto }" in text
    assert not re.findall(r"(?<!max-)width: ?\d+(px|rem)", text)
    for name, chart in figures(record).items():
        svg = ElementTree.fromstring(chart.svg)
        left, top, width, height = map(float, svg.get("viewBox").split())
        assert (left, top, width) == (0, 0, charts.WIDTH) and width <= 390 - 2 * 16 + 2
        for words in svg.iter(f"{SVG}text"):
            size = float(words.get("font-size", 12))
            long = 0.56 * size * len(words.text)
            start = float(words.get("x")) - {"start": 0, "middle": 0.5, "end": 1}[words.get("text-anchor")] * long
            assert size >= 10 and start >= -2 and start + long <= width + 4, (name, words.text)
            assert 0 < float(words.get("y")) <= height


def test_verdicts_are_words_not_colours(read, record):
    text, _ = read
    for one in record["verdicts"].values():
        assert f'<span class="verdict {one["verdict"]}">{one["verdict"]}</span>' in text


@pytest.mark.parametrize("latents", [0, 1])
def test_few_latents(record, latents):
    """A page too where there is little to draw."""
    own = Battery(evaluator(*constructed("carries"), digits()[:20], latents))
    found = audit(own, list(PARTS), None, most=10, say=str)
    text = page({**record, **found, "counterfactual": None, "checkpoints": None, "num_latents": latents})
    Reader().feed(text)
    assert text.count("<figure") >= (6 if latents else 2) and "<h2>Not measured</h2>" in text
