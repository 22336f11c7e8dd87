"""The page of thoughts: what it answers over HTTP, and what a browser shows of it."""

import contextlib
import os
import re
import socket
import subprocess
import time
from pathlib import Path

import browser
import pytest
from forked_python import forked_python
from test_talking import OTHER, QUESTION, USER, model_and_tokenizer

from latent_trainer.app.tables import heat_map, nearest
from latent_trainer.app.thinker import Reading, Thinker
from latent_trainer.cli import main
from latent_trainer.hub.space import GRADIO

gradio_client = pytest.importorskip("gradio_client")


@pytest.fixture(scope="module")
def thinker():
    return Thinker(*model_and_tokenizer())


@pytest.fixture(scope="module")
def served(tmp_path_factory, thinker):
    """The address of that model's page: in a process of its own, for Gradio leaves sockets open."""
    folder = tmp_path_factory.mktemp("page")
    thinker.model.save_pretrained(folder / "tiny")
    thinker.tokenizer.save_pretrained(folder / "tiny")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = ["-m", "latent_trainer", "view", "tiny", "--port", str(port)]
    environment = {**os.environ, "HF_HOME": str(folder / "home"), "HF_HUB_OFFLINE": "1"}
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([forked_python(), *words], cwd=folder, env=environment, stdout=log, stderr=log)
    try:
        until = time.monotonic() + 60
        while "Running on" not in (folder / "log").read_text():
            assert process.poll() is None and time.monotonic() < until, (folder / "log").read_text()
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}/"
    finally:
        process.terminate()
        process.wait()


@pytest.fixture(scope="module")
def client(served):
    return gradio_client.Client(served, verbose=False)


def test_an_answer(client, thinker):
    reading = thinker.answer(USER, 2)
    shown = client.predict(QUESTION, 2, api_name="/answer")
    assert shown == (reading.answer, "The model has no step decoder.", heat_map(reading), nearest(reading))


def test_no_latents(client):
    assert client.predict(QUESTION, 0, api_name="/answer")[2] == "<p>No latents: there is nothing to see.</p>"


@pytest.mark.parametrize("which", ["all", "2"])
def test_latents_of_another_problem(client, thinker, which):
    own, other = thinker.answer(USER, 3).latents, thinker.answer([{"role": "user", "content": OTHER}], 3)
    mixed = own.clone()
    mixed[slice(None) if which == "all" else 1] = other.latents[slice(None) if which == "all" else 1]
    answer, *shown = client.predict(QUESTION, 3, OTHER, which, api_name="/swap")
    expected = thinker.answer(USER, 3, latents=mixed)
    assert answer == other.answer and shown[0] == expected.answer and shown[2] == heat_map(expected)


@pytest.mark.parametrize(
    ("words", "why"),
    [(["", 1], "empty"), (["<|latent|>", 1], "is no text"), ([f"{QUESTION} " * 200, 1], "the conversation has")],
)
def test_what_cannot_be_answered(client, words, why):
    with pytest.raises(Exception, match=why):
        client.predict(*words, api_name="/answer")


def test_a_latent_that_is_not_there(client):
    with pytest.raises(Exception, match="no latent 3 among 2"):
        client.predict(QUESTION, 2, OTHER, "3", api_name="/swap")


def test_tokens_are_text_in_the_tables():
    reading = Reading("", None, [[("<b>", 0.5)]], [[(" ", 0.2)], [("&x", 0.9)]], [])
    assert "&lt;b&gt; 0.50" in nearest(reading)
    drawn = heat_map(reading)
    assert "&amp;x" in drawn and "&#x27; &#x27;" in drawn and drawn.index("layer 1") < drawn.index("embeddings")


def test_a_thought_without_a_length_is_not_swapped(tmp_path):
    model, tokenizer = model_and_tokenizer(feedback="soft")
    model.config.open_thought = True
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    code = (  # in a process of its own, for Gradio leaves an event loop open
        "from latent_trainer.app.thinker import Thinker\n"
        "from latent_trainer.app.page import page\n"
        "from latent_trainer.cli.build import load_saved\n"
        f"blocks = page(Thinker(*load_saved({str(tmp_path)!r})), 'open')\n"
        "print([one['api_name'] for one in blocks.config['dependencies']])"
    )
    shown = subprocess.run([forked_python(), "-c", code], check=True, capture_output=True, text=True).stdout
    assert "'answer'" in shown and "'swap'" not in shown


def test_a_space_has_the_release_the_page_is_tested_with():
    pins = (Path(__file__).resolve().parents[1] / "constraints.txt").read_text(encoding="utf-8").split()
    assert f"gradio=={GRADIO}" in pins


@pytest.mark.parametrize("words", [["."], ["--port", "0", "x"]])
def test_refused(words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # nothing is there
    with pytest.raises(SystemExit) as ended:
        main("view", words)
    assert ended.value.code == 2 and capsys.readouterr().err.count("\n") == 1


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_in_a_browser(served, thinker):
    reading = thinker.answer(USER)
    playwright = pytest.importorskip("playwright.sync_api")
    try:
        with browser.opened() as program:
            tab = browser.Tab(program, served)
            for _ in range(5):  # a click before the page listens is lost
                tab.page.get_by_label("Question", exact=True).fill(QUESTION)
                tab.page.get_by_role("button", name="Answer", exact=True).click()
                with contextlib.suppress(playwright.TimeoutError):
                    tab.page.locator(".latents table").first.wait_for(timeout=12_000)
                    break
            assert tab.page.locator(".latents figcaption").count() == 2
            layers = tab.page.locator(".latents").first.locator("tbody tr").count()
            assert layers == len(reading.lens)
            assert tab.page.get_by_label("Answer", exact=True).first.input_value() == reading.answer
            tab.page.get_by_text("Swap this latent").click()
            tab.page.get_by_label("The other question", exact=True).fill(OTHER)
            tab.page.get_by_role("button", name="Answer with its latent").click()
            tab.page.locator(".latents table").nth(3).wait_for(timeout=60_000)
            assert not tab.outside() and not tab.faults and tab.overflow() <= 0
            small = [text for text in tab.texts() if text["size"] < 12 and not re.fullmatch(r"\W*", text["words"])]
            assert not small
            tab.close()
    except browser.NoBrowser as error:
        pytest.skip(str(error))
