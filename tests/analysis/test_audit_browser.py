"""The audit's page in a real browser: whole, readable on a phone, told in words, asking nothing of anybody."""

import pytest
from analysis.constructed import constructed, digits, evaluator, other_digits
from browser import PHONE, Tab

from latent_trainer.analysis.audit.battery import Battery
from latent_trainer.analysis.audit.checkpoints import over_training
from latent_trainer.analysis.audit.parts import PARTS, audit
from latent_trainer.analysis.audit.report import figures, page
from latent_trainer.evaluation.record import environment

pytestmark = pytest.mark.slow
LATENTS = {"few": 2, "many": 16}
SMALLEST = 11  # points of the screen that a word of a figure is high; other words are half as high again


@pytest.fixture(scope="module", params=LATENTS)
def audited(request, tmp_path_factory):
    """Return a record with every part, of few latents and of as many as crowd a figure, and its page."""
    model, tokenizer = constructed("carries")
    number = LATENTS[request.param]
    problems = [one if one.answer not in "345" else type(one)(one.question, one.steps, "0", one.id) for one in digits()]
    own = Battery(evaluator(model, tokenizer, problems, number))
    found = audit(own, list(PARTS), other_digits, most=10, say=str)
    found["checkpoints"] = over_training(
        [(step, lambda: Battery(evaluator(model, tokenizer, problems[:20]))) for step in range(100, 1300, 100)]
    )
    config = {"model": "a-name-without-a-break" * 4, "dataset": "digits & more", "split": "test", "plugin": None}
    record = {**found, **environment(), "problems": 90, "seconds": 1.0, "data_hash": "0" * 64, "config": config}
    place = tmp_path_factory.mktemp("page") / "audit.html"
    place.write_text(page(record), encoding="utf-8")
    return record, place.as_uri()


@pytest.fixture(params=["light", "dark"])
def tab(request, browser, audited):
    tab = Tab(browser, audited[1], color_scheme=request.param)
    yield tab
    tab.close()


def test_no_request_leaves_the_page(tab, audited):
    """The page itself is all that is asked for, and nothing goes wrong on it."""
    tab.page.wait_for_load_state("networkidle")
    assert tab.asked == [audited[1]] and tab.outside() == [] and tab.faults == []


def test_every_figure_is_there_and_is_told(tab, audited):
    """Each is drawn as wide as the screen allows, and a reader who does not see it is told its title and what it shows."""
    drawn = figures(audited[0])
    assert len(drawn) >= 10 and tab.page.locator("figure svg").count() == len(drawn)
    for name, chart in drawn.items():
        box = tab.page.locator(f"figure#{name} svg").bounding_box()
        assert box["width"] > 300 and box["height"] > 30 and 0 <= box["x"] <= PHONE["width"] - box["width"], name
        told = tab.page.get_by_role("img", name=f"{chart.title} {chart.description}")
        assert told.count() == 1 and told.is_visible(), name


@pytest.mark.parametrize("unfolded", [False, True], ids=["folded", "unfolded"])
def test_readable_at_the_width_of_a_phone(tab, unfolded):
    """Nothing is wider than the screen, cut off, too small, or written over something else."""
    if unfolded:
        tab.page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert tab.page.evaluate("document.documentElement.clientWidth") == PHONE["width"] and tab.overflow() <= 0
    texts = tab.texts()
    assert len(texts) > 100
    for one in texts:
        assert one["size"] >= (SMALLEST if one["drawing"] else 13), one
        assert one["scrolled"] or not one["cut"], one
    for number, one in enumerate(texts):
        for other in texts[number + 1 :]:
            apart = min(one["right"], other["right"]) - max(one["left"], other["left"]) < 1
            apart |= min(one["bottom"], other["bottom"]) - max(one["top"], other["top"]) < 3  # room above and below letters
            assert apart or one["scrolled"] or other["scrolled"], (one, other)


def test_words_stand_out_from_what_is_behind_them(tab):
    """Ink and paper differ by at least the contrast that WCAG 2 asks of small text (4.5), verdicts too."""
    light = """colour => { const parts = colour.match(/[\\d.]+/g).slice(0, 3).map(one => one / 255)
      .map(one => one <= 0.03928 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4);
      return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2] }"""
    found = tab.page.evaluate(
        f"""() => {{ const light = {light}, style = (one, name) => getComputedStyle(one)[name];
        return [...document.querySelectorAll("body, .verdict")].map(one => {{
          const behind = one.closest(".card") || document.body;
          const [ink, paper] = [light(style(one, "color")), light(style(behind, "backgroundColor"))];
          return (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05) }}) }}"""
    )
    assert len(found) == 5 and min(found) >= 4.5
