"""lm-evaluation-harness itself, offline, over tasks written here: what it reads and writes is what the library computes."""

import functools
import json
import re
import runpy
import sys
from pathlib import Path

import pytest
import torch
from conftest import make_base, sharpen
from peft import LoraConfig, get_peft_model
from reference import naive_logits
from transformers import AutoTokenizer

from latent_trainer import LatentForCausalLM
from latent_trainer.data.encoding import Encoder
from latent_trainer.data.problem import Problem
from latent_trainer.data.template import resolve_template
from latent_trainer.data.tokenizer import train_tokenizer
from latent_trainer.errors import InputError
from latent_trainer.evaluation.generation import generate_answers

pytest.importorskip("lm_eval", reason="the extra 'harness' is not installed")

pytestmark = pytest.mark.filterwarnings("default")  # the harness and what it imports are not ours to mend
ROOT = Path(__file__).resolve().parents[2]
QUESTIONS = ["7 +3 x7", "1 +2 -5 x3 +4 -1", "9 +0", "4 x9 -2", "0 +1 +1 +1"]
CHOICES = ["3 5", "8", "1 2 4"]
WRITTEN = 6
WRITE = """
task: written
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: generate_until
doc_to_text: "{text}"
doc_to_target: "{{{{answer}}}}"
generation_kwargs: {{until: ["stop"], max_gen_toks: 6, do_sample: false}}
metric_list: [{{metric: exact_match}}]
"""
CHOOSE = """
task: chosen
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{text}"
doc_to_target: gold
doc_to_choice: ["3 5", "8", "1 2 4"]
metric_list: [{{metric: acc}}]
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Return a folder with a saved latent model, an adapter, its base, and the rows of the tasks."""
    folder = tmp_path_factory.mktemp("harness")
    words = [*map(str, range(10)), *(f"{sign}{digit}" for sign in "+-x" for digit in range(10)), "=", "###"]
    tokenizer = train_tokenizer([" ".join(words)])
    base = sharpen(make_base("llama", vocab_size=len(tokenizer), dtype=torch.float32))
    base.save_pretrained(folder / "base")
    base = type(base).from_pretrained(folder / "base")  # an adapter needs the name of its base
    model = LatentForCausalLM.from_base(base, tokenizer=tokenizer).eval()
    model.config.template, model.config.num_latents = resolve_template("plain").to_dict(), 3
    model.generation_config.max_new_tokens = 2  # fewer than the tasks ask for
    model.save_pretrained(folder / "model")
    torch.manual_seed(0)
    peft_model = get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False))
    peft_model.save_pretrained(folder / "adapter")
    model.config.save_pretrained(folder / "adapter")
    for name in ("base", "model", "adapter"):
        tokenizer.save_pretrained(folder / name)
    rows = [{"question": text, "answer": "8", "gold": number % 3} for number, text in enumerate(QUESTIONS)]
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


@pytest.fixture
def harness(place, tmp_path, monkeypatch):
    """Return a function that runs recipes/harness.py on the tasks, with nothing to download from and caches of its own.

    It returns the results and, by task, the logged samples in order.
    """
    from lm_eval.tasks import TaskManager

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "datasets")
    monkeypatch.setattr("lm_eval.evaluator.add_env_info", lambda results: None)  # asks every tool of the machine
    ours = functools.partialmethod(TaskManager.__init__, include_defaults=False)  # reading its thousands of tasks takes long
    monkeypatch.setattr(TaskManager, "__init__", ours)
    monkeypatch.setenv("LM_HARNESS_CACHE_PATH", str(tmp_path / "requests"))
    monkeypatch.chdir(tmp_path)

    def run(model: str, arguments: str, thought: str = "") -> dict:
        (tmp_path / "tasks").mkdir()
        text = "{{question}} " + thought if thought else "{{question}}"
        for name, task in (("written", WRITE), ("chosen", CHOOSE)):
            (tmp_path / "tasks" / f"{name}.yaml").write_text(task.format(data=place / "rows.jsonl", text=text))
        words = ["harness.py", "--model", model, "--model_args", arguments, "--tasks", "written,chosen", "--device", "cpu"]
        words += [
            "--include_path",
            tmp_path / "tasks",
            "--batch_size",
            3,
            "--output_path",
            tmp_path / "out",
            "--log_samples",
        ]
        monkeypatch.setattr(sys, "argv", [str(word) for word in words])
        runpy.run_path(str(ROOT / "recipes" / "harness.py"), run_name="__main__")
        (results,) = (tmp_path / "out").rglob("results*.json")
        found = {"results": json.loads(results.read_text())["results"]}
        for task in ("written", "chosen"):
            (samples,) = (tmp_path / "out").rglob(f"samples_{task}*.jsonl")
            found[task] = sorted(map(json.loads, samples.read_text().splitlines()), key=lambda row: row["doc_id"])
        return found

    return run


def texts(found: dict) -> list[str]:
    return [row["resps"][0][0].strip() for row in found["written"]]


def scores(found: dict) -> list[list[float]]:
    return [[float(choice[0][0]) for choice in row["resps"]] for row in found["chosen"]]


def expected(folder: Path, num_latents: int) -> tuple[list[str], list[list[float]]]:
    """Return the answers of `generate_answers` and the choices' log-likelihoods, a row at a time without a cache."""
    model = LatentForCausalLM.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    problems = [Problem(text, (), "8", str(number)) for number, text in enumerate(QUESTIONS)]
    answers = generate_answers(model, tokenizer, problems, num_latents, model.config.template, 1, WRITTEN)
    encoder = Encoder(tokenizer, model.config.template)
    ids = {"latent": encoder.latent, "bot": encoder.bot, "eot": encoder.eot}
    likelihoods = []
    for question in QUESTIONS:
        likelihoods.append([])
        for choice in CHOICES:
            prompt, new = encoder.prompt(question, num_latents), tokenizer(choice).input_ids
            columns = [column for column, token in enumerate(prompt) if token == ids["latent"]]
            with torch.no_grad():
                logits = naive_logits(model.base, prompt + new, model._next_embedding, columns=columns)
            chances = logits[len(prompt) - 1 : -1].log_softmax(-1)
            likelihoods[-1].append(chances[range(len(new)), new].sum().item())
    return [answer.text for answer in answers], likelihoods


def close(found, wanted) -> bool:
    return torch.allclose(torch.tensor(found), torch.tensor(wanted), rtol=0, atol=2e-4)


def test_latent(place, harness):
    """As many latents as trained; outputs, log-likelihoods and the numbers made of them."""
    found = harness("latent", f"pretrained={place / 'model'}")
    wanted_texts, wanted_scores = expected(place / "model", 3)
    assert texts(found) == wanted_texts and len(set(wanted_texts)) > 1
    assert max(len(text.split()) for text in wanted_texts) == WRITTEN
    assert close(scores(found), wanted_scores)
    assert not close(wanted_scores, expected(place / "model", 0)[1])
    right = [max(range(3), key=row.__getitem__) == number % 3 for number, row in enumerate(wanted_scores)]
    assert found["results"]["chosen"]["acc,none"] == sum(right) / len(right)
    assert found["results"]["written"]["exact_match,none"] == wanted_texts.count("8") / len(wanted_texts)


def test_number_of_latents_of_an_adapter(place, harness):
    found = harness("latent", f"pretrained={place / 'adapter'},num_latents=1")
    wanted_texts, wanted_scores = expected(place / "adapter", 1)
    assert texts(found) == wanted_texts
    assert close(scores(found), wanted_scores)
    assert not close(wanted_scores, expected(place / "model", 1)[1])


def test_hf(place, harness):
    """The harness's own model type loads a latent model; it thinks where the task's text says so, as trained in length."""
    thought = "<|bot|><|latent|><|latent|><|latent|><|eot|>"
    found = harness("hf", f"pretrained={place / 'model'}", thought)
    wanted_texts, wanted_scores = expected(place / "model", 3)
    assert texts(found) == [" ".join(text.split()[:2]) for text in wanted_texts]
    assert close(scores(found), wanted_scores)


@pytest.fixture
def language_model(place):
    """Return the harness's model object in this process."""
    from latent_trainer.evaluation.harness import LatentLM

    def build(**options):
        return LatentLM(str(place / "model"), device="cpu", batch_size=4, **options)

    return build


def test_rolling_log_likelihoods_are_plain(language_model):
    from lm_eval.api.instance import Instance

    model = language_model(num_latents=5)
    text = "7 +3 x7 = 8 9"
    (found,) = model.loglikelihood_rolling([Instance("loglikelihood_rolling", {}, (text,), 0)], disable_tqdm=True)
    ids = [model.prefix_token_id, *model.tokenizer(text).input_ids]
    with torch.no_grad():
        chances = naive_logits(model.model.base, ids, columns=[])[:-1].log_softmax(-1)
    assert found == pytest.approx(chances[range(len(ids) - 1), ids[1:]].sum().item(), abs=1e-4)


def test_rows_think_in_the_same_columns(language_model):
    """A ragged batch of four rows costs as many passes as its longest thought, and no row's logits change."""
    model = language_model()
    rows = [model._encode_pair(text, " 3")[0] for text in ("1", "1 +2", "1 +2 -5 x3", "9 x9 x9 x9 x9")]
    width = max(map(len, rows))
    padded = torch.tensor([row + [0] * (width - len(row)) for row in rows])
    passes = []
    model.model.get_decoder().register_forward_pre_hook(lambda *call: passes.append(1))
    logits = model._model_call(padded)
    assert len(passes) == 4
    for row, ids in enumerate(rows):
        alone = model._model_call(torch.tensor([ids]))[0]
        torch.testing.assert_close(logits[row, : len(ids)], alone, rtol=0, atol=2e-4)


@pytest.mark.parametrize(
    ("changes", "generated", "scored"),
    [
        ({}, ["<|bot|>", "<|latent|>", "<|eot|>"], ["<|bot|>", "<|latent|>", "<|eot|>"]),
        ({"remaining_steps": "inside"}, ["<|bot|>", "<|latent|>"], ["<|bot|>", "<|latent|>", "<|eot|>"]),
        ({"markers": False}, ["<|latent|>"], ["<|latent|>"]),
    ],
)
def test_the_template_decides_about_markers(language_model, changes, generated, scored):
    from latent_trainer.evaluation.harness import LatentLM

    model = language_model()
    model.model.config.template = resolve_template("plain", **changes).to_dict()
    model = LatentLM(model.model, num_latents=1, tokenizer=model.tokenizer)
    ids, mask = model.tok_batch_encode(["7", "7 +3"], left_truncate_len=4)
    thought = model.tokenizer.convert_tokens_to_ids(generated)
    assert [row[kept.bool()].tolist() for row, kept in zip(ids, mask, strict=True)] == [
        (model.tokenizer(text).input_ids + thought)[-4:] for text in ("7", "7 +3")
    ] or len(thought) == 3
    assert ids.shape[1] <= 4 and all(row[-len(thought) :] == thought for row in ids.tolist())
    context, continuation = model._encode_pair("7 +3", " 8")
    assert context == model.tokenizer("7 +3").input_ids + model.tokenizer.convert_tokens_to_ids(scored)
    assert continuation == model.tokenizer("8").input_ids


def test_a_negative_number_is_refused(language_model):
    with pytest.raises(InputError, match="num_latents=-1"):
        language_model(num_latents=-1)


def test_contexts_with_a_thought_of_their_own_are_refused(language_model):
    model = language_model()
    for read in (lambda text: model.tok_batch_encode([text]), lambda text: model._encode_pair(text, " 8")):
        for token in ("<|latent|>", "<|eot|>", "<|endoftext|>"):
            with pytest.raises(InputError, match=rf"{re.escape(token)} stands for"):
                read(f"7 +3 {token}")


def test_without_the_extra(monkeypatch):
    """One line that says what to install."""
    monkeypatch.setitem(sys.modules, "lm_eval", None)  # as if it were not installed
    monkeypatch.delitem(sys.modules, "lm_eval.__main__", raising=False)
    monkeypatch.delitem(sys.modules, "latent_trainer.evaluation.harness", raising=False)
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / "recipes" / "harness.py"), run_name="__main__")
    assert ended.value.code == "harness.py: the harness needs lm_eval; install it with pip install -e '.[harness]'"
