"""The model card: metadata the Hub accepts, what was measured, and text of users that stays text."""

import json
import re
from dataclasses import replace

import pytest
import yaml
from huggingface_hub import ModelCard, metadata_load
from huggingface_hub.repocard_data import model_index_to_eval_results

from latent_trainer.data import Encoder, Template
from latent_trainer.hub.card import escaped, layout, model_card
from latent_trainer.hub.folder import published
from latent_trainer.hub.settings import without_folders
from latent_trainer.methods.presets import METHODS

pytest_plugins = ["hub_fixtures"]


@pytest.fixture(scope="module")
def full(trained, tmp_path_factory):
    return published(trained / "full", False, tmp_path_factory.mktemp("full"))


@pytest.fixture(scope="module")
def adapter(trained, tmp_path_factory):
    return published(trained / "adapter", False, tmp_path_factory.mktemp("adapter"))


def metadata(card: str, folder) -> dict:
    """Return a card's metadata as the client reads it from a file."""
    (folder / "README.md").write_text(card, encoding="utf-8")
    return metadata_load(folder / "README.md")


def test_the_hub_accepts_it(hub, full, adapter, tmp_path):
    for found, license in ((full, None), (full, "mit"), (adapter, "mit")):
        card = model_card(found, "me/name", license)
        ModelCard(card).validate()  # asks the Hub
        assert hub.validated[-1] == card


def test_what_a_model_says_of_itself(full, trained, tmp_path):
    card = model_card(full, "me/name", "apache-2.0")
    facts = metadata(card, tmp_path)
    assert facts["library_name"] == "transformers" and facts["pipeline_tag"] == "text-generation"
    assert facts["license"] == "apache-2.0" and {"latent-reasoning", "coconut"} <= set(facts["tags"])
    assert "base_model" not in facts and "datasets" not in facts  # built from a configuration, on generated problems
    record = json.loads((trained / "full.json").read_text())
    name, results = model_index_to_eval_results(facts["model-index"])
    assert name == "name"
    assert {(one.metric_type, one.metric_value) for one in results} == {
        ("accuracy", record["accuracy"]),
        ("accuracy_stderr", record["accuracy_stderr"]),
    }
    assert {(one.dataset_name, one.dataset_split) for one in results} == {("arithmetic", "test")}
    for text in (
        METHODS["coconut"].citation,
        "| zero |",
        "| shuffle |",
        "learning_curve.png",
        "| learning\\_rate | 0.002 |",
    ):
        assert text in card
    assert f"| arithmetic | test | {100 * record['accuracy']:.1f} ± " in card
    assert "No controls were measured" not in card


def test_what_an_adapter_says_of_itself(adapter, tmp_path):
    card = model_card(adapter, "me/name", "mit")
    facts = metadata(card, tmp_path)
    assert (facts["base_model"], facts["base_model_relation"], facts["library_name"]) == ("me/base", "adapter", "peft")
    assert "model-index" not in facts and "metrics" not in facts
    assert "Accuracy was not measured." in card and "No controls were measured" in card and ".png" not in card


def test_validation_accuracy_stands_in_for_a_record(full, tmp_path):
    own = {name: record for name, record in full.results.items() if name != "model"}
    facts = metadata(model_card(replace(full, results=own), "me/name", None), tmp_path)
    _, results = model_index_to_eval_results(facts["model-index"])
    assert {one.dataset_split for one in results} == {"validation"}
    assert results[0].metric_value == own["eval_results"]["eval_accuracy"]


@pytest.mark.parametrize("name", ["gsm8k", "gsm8k_aug", "me/problems"])
def test_data_sets_of_the_hub(full, tmp_path, name):
    facts = metadata(model_card(replace(full, data={"dataset": name}), "me/name", None), tmp_path)
    assert facts["datasets"] == [{"gsm8k": "openai/gsm8k", "gsm8k_aug": "whynlp/gsm8k-aug"}.get(name, name)]


def test_no_jinja_is_left(full, adapter):
    for found in (full, adapter):
        card = model_card(found, "me/name", None)
        assert "{{" not in card and "{%" not in card and "None" not in card and "\n\n\n" not in card


HOSTILE = [
    "<script>alert(1)</script>",
    "a | b\n| c | d |",
    "[click](https://example.org)",
    "![x](https://example.org/x.png)",
    "`code` **bold** ~~gone~~ _i_",
    "---\nlicense: mit\n---",
    "{{ 7 * 7 }} {% raise %}",
    "```\n# heading\n```",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_text_of_users_stays_text(full, tmp_path, text):
    """Neither metadata nor markup, HTML, links or blocks come out of a setting, a record or a file's name."""
    record = {
        **full.results["model"],
        "config": {"dataset": text, "split": text},
        "controls": {text: next(iter(full.results["model"]["controls"].values()))},
    }
    found = replace(full, data={"dataset": text, "dataset_path": text}, results={**full.results, "model": record})
    card = model_card(found, "me/name", None)
    facts = metadata(card, tmp_path)
    plain = metadata(model_card(full, "me/name", None), tmp_path)
    assert facts.keys() - {"datasets"} == plain.keys()
    body = card.split("\n---\n", 1)[1]
    reference = model_card(full, "me/name", None).split("\n---\n", 1)[1]
    assert len(re.findall(r"^#+ ", body, re.MULTILINE)) == len(re.findall(r"^#+ ", reference, re.MULTILINE))
    assert body.count("```") == reference.count("```")
    assert "<script" not in body and not re.search(r"(?<!\\)\]\(https://example", body)
    for line in body.splitlines():
        if line.startswith("| "):
            assert len(re.findall(r"(?<!\\)\|", line)) in (3, 5, 7)  # its table's own borders
    assert (
        yaml.safe_load(card.split("\n---\n")[0].removeprefix("---"))["model-index"][0]["results"][0]["dataset"]["name"]
        == text
    )


def test_escaped():
    assert escaped("a|b\nc") == "a\\|b c"
    assert escaped({"norm": 1}) == '{"norm": 1}'
    assert escaped(0.00020000001) == "0.0002"


@pytest.mark.parametrize(
    ("template", "num_latents", "lines"),
    [
        (Template(), 3, ["{question}\\n <|bot|> <|latent|> x 3 <|eot|>", "{remaining steps} ###  {answer}"]),
        (
            Template(remaining_steps="inside"),
            3,
            ["{question}\\n <|bot|> <|latent|> x 3", "{remaining steps} <|eot|> ###  {answer}"],
        ),
        (Template(markers=False), 0, ["{question}\\n", "{remaining steps} ###  {answer}"]),
        (Template(score_answer_prefix=False), 1, ["{question}\\n <|bot|> <|latent|> x 1 <|eot|>###", "{answer}"]),
        (Template(answer_prefix="```\n"), 0, ["{question}\\n <|bot|><|eot|>", "{remaining steps} '''\\n {answer}"]),
    ],
)
def test_layout(full, template, num_latents, lines):
    picture = layout(Encoder(full.tokenizer, template), num_latents).splitlines()
    assert picture[:2] == [f"prompt   {lines[0]}", f"written  {lines[1]}"]
    assert (len(picture) == 3) == (num_latents > 0)


def test_folders_of_this_machine_keep_their_name_only(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data" / "x.jsonl").touch()
    settings = {"a": str(tmp_path / "gone" / "model"), "b": ["data/x.jsonl", {"c": "me/name"}], "d": 3, "e": "1/2", "f": "x"}
    assert without_folders(settings) == {"a": "model", "b": ["x.jsonl", {"c": "me/name"}], "d": 3, "e": "1/2", "f": "x"}
