"""Saved models behind transformers' own server, asked with OpenAI's own client: it answers what `generate` answers."""

import json
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest import make_base, sharpen
from forked_python import forked_python
from peft import LoraConfig
from transformers import AutoTokenizer
from transformers.cli.serving.utils import CBGenerateManager

from latent_trainer import LatentForCausalLM, LatentTrainer, LatentTrainingArguments, load_problems
from latent_trainer.cli import main
from latent_trainer.data import encode_prompts
from latent_trainer.data.tokenizer import train_tokenizer
from latent_trainer.errors import InputError
from latent_trainer.hub import export_folder

openai = pytest.importorskip("openai")
pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")

EVERY = pytest.mark.parametrize("served", ["full", "adapter", "exported"], indirect=True)
BOTH = pytest.mark.parametrize("served", ["full", "exported"], indirect=True)
OURS_ALONE = pytest.mark.parametrize("served", ["full"], indirect=True)
K = 3
NEW = 8
QUESTIONS = [row["question"] for row in load_problems("arithmetic", "validation", size=5, operations=2)]
OURS, STOCK = ["-m", "latent_trainer", "serve"], ["-m", "transformers.cli.transformers", "serve"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Folders: "full" and "adapter" as training leaves them, the latter merged in "exported"; "bare" knows no template."""
    place = tmp_path_factory.mktemp("served")
    rows = load_problems("arithmetic", "train", size=8, operations=2)
    words = [row["question"] for row in rows] + [*QUESTIONS, *map(str, range(10)), "= ###"]
    tokenizer = train_tokenizer(words)
    sharpen(make_base("llama", vocab_size=len(tokenizer), dtype=torch.float32)).save_pretrained(place / "base")
    for name, lora in (("full", None), ("adapter", LoraConfig(r=2, lora_alpha=8))):
        model = LatentForCausalLM.from_base(str(place / "base"), tokenizer=tokenizer)
        quiet = {"report_to": "none", "disable_tqdm": True, "save_strategy": "no", "use_cpu": True}
        args = LatentTrainingArguments(
            str(place / name), method="codi", num_latents=K, max_steps=1, learning_rate=1e-3, **quiet
        )
        trainer = LatentTrainer(model, args, train_dataset=rows, processing_class=tokenizer, peft_config=lora)
        trainer.train()
        trainer.save_model()
    export_folder(place / "adapter", place / "exported", merge=True)
    bare = LatentForCausalLM.config_class.from_pretrained(place / "full")
    bare.template = None
    bare.save_pretrained(place / "bare")
    return place


@pytest.fixture(scope="module")
def started(folders):
    """The servers, started together: ours in a process that has the library, the stock one in a process that has not."""
    environment = {**os.environ, "HF_HOME": str(folders / "home"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    commands = {
        "full": [forked_python(), *OURS, "full"],
        "adapter": [forked_python(), *OURS, "adapter"],
        "exported": [sys.executable, *STOCK, "exported", "--trust-remote-code"],
    }
    running = {}
    try:
        for name, command in commands.items():
            with (folders / f"{name}.log").open("w") as log:
                words = [*command, "--port", "0"]
                running[name] = subprocess.Popen(words, cwd=folders, env=environment, stdout=log, stderr=log)
        yield running
    finally:
        for process in running.values():
            process.terminate()
        for process in running.values():
            process.wait()


def port_of(log: Path, process: subprocess.Popen) -> int:
    """Return the port a server listens on, once it does."""
    until = time.monotonic() + 60
    while time.monotonic() < until and process.poll() is None:
        found = re.search(r"Uvicorn running on http://\S+:(\d+)", log.read_text())
        if found:
            return int(found[1])
        time.sleep(0.05)
    raise AssertionError(f"the server did not start:\n{log.read_text()}")


@pytest.fixture
def served(request, folders, started):
    """A client of the server whose name the test gives, and the model that it serves."""
    name = request.param
    port = port_of(folders / f"{name}.log", started[name])
    model = LatentForCausalLM.from_pretrained(folders / name).eval()
    tokenizer = AutoTokenizer.from_pretrained(folders / name)
    with openai.OpenAI(base_url=f"http://localhost:{port}/v1", api_key="none", max_retries=0, timeout=60) as client:
        yield SimpleNamespace(
            client=client, port=port, model=model, tokenizer=tokenizer, name=name, log=folders / f"{name}.log"
        )


def answer(served, question: str, num_latents: int = K, **settings) -> str:
    """Return what `generate` answers to a question alone, greedily unless told otherwise."""
    batch = encode_prompts([question], served.tokenizer, num_latents, served.model.config.template)
    written = served.model.generate(**batch, max_new_tokens=NEW, **settings)[0, batch["input_ids"].shape[1] :]
    return served.tokenizer.decode(written, skip_special_tokens=True)


def ask(served, question: str, **settings):
    """Return the reply of ``/v1/chat/completions``."""
    chat = [{"role": "user", "content": question}]
    return served.client.chat.completions.create(model=served.name, messages=chat, max_tokens=NEW, **settings)


def text_of(reply) -> str:
    """Return the text of a reply, streamed or not."""
    if hasattr(reply, "choices"):
        return reply.choices[0].message.content
    return "".join(chunk.choices[0].delta.content or "" for chunk in reply)


@EVERY
def test_chat_completions(served):
    """Asked all at once, streamed and not, each question gets its own thoughts, and pieces are the whole text."""
    expected = [answer(served, question) for question in QUESTIONS]
    assert len(set(expected)) > 3 and expected != [answer(served, question, 0) for question in QUESTIONS]
    streams = [False, True] * len(QUESTIONS)
    with ThreadPoolExecutor(len(streams)) as pool:
        found = list(pool.map(lambda one, stream: text_of(ask(served, one, stream=stream)), QUESTIONS * 2, streams))
    assert found == expected * 2
    for stream in (False, True):
        assert text_of(ask(served, QUESTIONS[0], stream=stream)) == expected[0]


@BOTH
def test_a_chat_holds_the_latents(served):
    """The tokens that are counted are those of training, thought included; a second turn thinks anew."""
    reply = ask(served, QUESTIONS[0])
    prompt = encode_prompts(QUESTIONS[:1], served.tokenizer, K, served.model.config.template)["input_ids"]
    assert reply.usage.prompt_tokens == prompt.shape[1] and (prompt == served.model.config.latent_token_id).sum() == K
    chat = [{"role": "user", "content": QUESTIONS[0]}, {"role": "assistant", "content": "9"}]
    chat.append({"role": "user", "content": QUESTIONS[1]})
    longer = served.client.chat.completions.create(model=served.name, messages=chat, max_tokens=NEW)
    assert longer.usage.prompt_tokens > 2 * prompt.shape[1] - 2


@BOTH
@pytest.mark.parametrize("stream", [False, True])
def test_completions_and_responses(served, stream):
    """A completion continues its text, in which the thought stands as in a prompt; a response is a chat."""
    prompt = encode_prompts(QUESTIONS[:1], served.tokenizer, K, served.model.config.template)["input_ids"][0]
    reply = served.client.completions.create(
        model=served.name, prompt=served.tokenizer.decode(prompt), max_tokens=NEW, stream=stream
    )
    text = "".join(chunk.choices[0].text for chunk in reply) if stream else reply.choices[0].text
    assert text == answer(served, QUESTIONS[0])
    reply = served.client.responses.create(model=served.name, input=QUESTIONS[0], max_output_tokens=NEW, stream=stream)
    if stream:
        text = "".join(event.delta for event in reply if event.type == "response.output_text.delta")
    else:
        text = reply.output_text
    assert text == answer(served, QUESTIONS[0])


@BOTH
def test_sampling(served):
    """A temperature alone is for models that sample by default; settings of `generate` go through, thought tokens never."""
    greedy = answer(served, QUESTIONS[0])
    assert text_of(ask(served, QUESTIONS[0], temperature=1.5)) == greedy
    config = {"do_sample": True, "temperature": 1.5, "max_new_tokens": NEW}
    found = [
        text_of(ask(served, QUESTIONS[0], seed=seed, extra_body={"generation_config": json.dumps(config)}))
        for seed in range(3)
    ]
    expected = []
    for seed in range(3):
        torch.manual_seed(seed)
        expected.append(answer(served, QUESTIONS[0], do_sample=True, temperature=1.5))
    assert found == expected and len({greedy, *found}) > 2
    forbidden = {str(served.model.config.latent_token_id): 100.0, str(served.model.config.bot_token_id): 100.0}
    assert text_of(ask(served, QUESTIONS[0], logit_bias=forbidden)) == greedy


@OURS_ALONE
def test_transformers_chat(served):
    """The stock program for the terminal, with a conversation on its standard input."""
    words = ["chat", served.name, f"http://localhost:{served.port}", f"max_new_tokens={NEW}", "do_sample=False"]
    done = subprocess.run(
        [forked_python(), *STOCK[:2], *words],
        input=f"{QUESTIONS[0]}\n!exit\n",
        cwd=served.log.parent,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "COLUMNS": "200"},
        capture_output=True,
        text=True,
    )
    expected = answer(served, QUESTIONS[0])
    assert len(expected) > 4 and expected in done.stdout, done


@OURS_ALONE
def test_what_the_template_refuses(served):
    """A server answers with its status for an error; its log has the reason."""
    with pytest.raises(openai.InternalServerError):
        ask(served, f"{QUESTIONS[0]} <|latent|>")
    until = time.monotonic() + 20  # the reply is sent before the reason is written
    while "<|latent|> is no text; take it out of the message" not in served.log.read_text():
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ([], "serve needs a folder or Hub name"),
        (["."], "'.' holds no latent model"),
        (["full", "--continuous-batching"], "--continuous-batching cannot compute a latent"),
        (["full", "--chat-template-kwargs", "{"], "chat_template_kwargs={: malformed JSON"),
        (["bare"], "bare: its config.json has no template"),
    ],
    ids=str,
)
def test_refused_before_it_starts(folders, monkeypatch, capsys, words, why):
    monkeypatch.chdir(folders)
    capsys.readouterr()
    with pytest.raises(SystemExit) as end:
        main("serve", words)
    said = capsys.readouterr().err
    assert end.value.code == 2 and said.startswith(f"latent-trainer: {why}") and said.count("\n") == 1


def test_no_thoughts_in_paged_batches(folders):
    """Nor in a stock server that was told to: what would start its batches says so."""
    model = LatentForCausalLM.from_pretrained(folders / "full")
    with pytest.raises(InputError, match=r"continuous batching .* cannot compute a latent"):
        CBGenerateManager().init_cb(model, model.generation_config)


def test_the_extra_is_named(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(SystemExit):
        main("serve", ["anything"])
    assert capsys.readouterr().err == "latent-trainer: serve needs uvicorn; pip install 'latent_trainer[serve]'\n"
