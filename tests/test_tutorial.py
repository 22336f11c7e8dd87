"""A researcher's day: a method and a data set from outside the library, each in one file; trained, evaluated, pushed.

The files are those of docs/tutorials/plugins: CoLaR, reduced, and ProsQA as it is published.
"""

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import shared_file
from forked_python import forked_python
from safetensors import safe_open

from latent_trainer import load_plugin
from latent_trainer.methods.objectives import build_objective
from latent_trainer.methods.step import Step
from latent_trainer.testing import CurriculumContract, FeedbackContract, ObjectiveContract, check_dataset
from latent_trainer.testing.tiny import make_tokenizer, tiny_model

sys.path.append(str(Path(__file__).with_name("hub")))  # the Hub on loopback

from hub_machines import clean_machine, environment, run_program
from hub_server import loopback_hub

pytest_plugins = ["plugin_fixtures"]

ROOT = Path(__file__).resolve().parents[1]
PLUGINS = ROOT / "docs" / "tutorials" / "plugins"
BOTH = [word for name in ("colar", "prosqa") for word in ("--plugin", str(PLUGINS / f"{name}.py"))]
MODEL = {"model_type": "gpt2", "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256}
MODEL |= dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0)
TRAIN = {
    "method": "colar_reduced",
    "dataset": "chains",
    "curriculum": {"name": "grouped", "factor": 3, "most": 4},
    "objective": {"name": "colar", "loss": "soft_mse"},
    "template": "coconut",
    "model_config": MODEL,
    "max_steps": 4,
    "learning_rate": 0.003,
    "per_device_train_batch_size": 8,
    "logging_steps": 1,
    "save_strategy": "steps",
    "save_steps": 2,
    "max_new_tokens": 8,
    "report_to": "none",
    "disable_tqdm": True,
    "log_level": "error",
    "use_cpu": True,
}
# Loads a repository with transformers alone, asks it a question, and prints logits and text.
ELSEWHERE = """
import importlib.util, json, sys
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
assert importlib.util.find_spec("latent_trainer") is None
name, question = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(name)
model = AutoModelForCausalLM.from_pretrained(name, trust_remote_code=True)
batch = tokenizer.apply_chat_template(
    [{"role": "user", "content": question}], add_generation_prompt=True, return_tensors="pt", return_dict=True
)
with torch.no_grad():
    logits = model(**batch).logits[0]
text = tokenizer.decode(model.generate(**batch)[0, batch["input_ids"].shape[1]:])
print()
print(json.dumps({"module": type(model.feedback).__module__, "logits": logits.tolist(), "text": text}))
"""


def write_prosqa(path: Path, number: int = 120) -> Path:
    """Write problems in the published format: chains of "Every a is a b" from a name to one of two words."""
    rows = []
    for n in range(number):
        words = [f"w{(7 * n + 3 * place) % 23}" for place in range(5)]
        steps = [f"Tom is a {words[0]}.", *(f"Every {one} is a {two}." for one, two in itertools.pairwise(words))]
        steps = steps[: 2 + n % 3]
        target = steps[-1].rstrip(".").split()[-1]
        question = " ".join([*sorted(steps), f"Every w{n % 5} is a {words[4]}.", f"Is Tom a {target} or {words[4]}?"])
        more = {"idx_to_symbol": ["Tom", *words], "edges": [[0, 1]], "root": 0, "target": 1, "neg_target": 2}
        rows.append({"question": question, "answer": f"Tom is a {target}.", "steps": steps, **more})
    path.write_text(json.dumps(rows), encoding="utf-8")
    return path


def command(*words, **changes) -> str:
    """Run ``latent-trainer`` in a process of its own and return what it prints; settings are words too."""
    folder, env, status = changes.pop("folder"), changes.pop("env", {}), changes.pop("status", 0)
    launcher = changes.pop("launcher", None)
    words = [str(word) for word in words]
    words += [f"--{name}={json.dumps(value) if isinstance(value, dict) else value}" for name, value in changes.items()]
    python = sys.executable if env else forked_python()  # which has read the environment already
    run = [python, *(launcher or ["-m", "latent_trainer", words[0]]), *words[1:]]
    done = subprocess.run(run, cwd=folder, env={**os.environ, **env}, capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stderr[-3000:]
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def day(tmp_path_factory):
    """Return the folder of a trained run; its folder also has the problems."""
    folder = tmp_path_factory.mktemp("day")
    write_prosqa(folder / "prosqa.json")
    command("train", *BOTH, folder=folder, **TRAIN, dataset_path="prosqa.json", output_dir="run")
    return folder


def names_in(file: Path) -> set[str]:
    with safe_open(file, "pt") as weights:
        return set(weights.keys())


def test_trains(day):
    """Both terms fall; the objective's own weights are in checkpoints and not in the finished model."""
    state = json.loads((day / "run" / "trainer_state.json").read_text())
    rows = [row for row in state["log_history"] if "loss" in row]
    assert len(rows) == 4 and all({"loss_answer", "loss_latent"} <= set(row) for row in rows)
    assert rows[-1]["loss_latent"] < rows[0]["loss_latent"] and rows[-1]["loss_answer"] < rows[0]["loss_answer"]
    own = {"objective.log_variance.weight", "objective.log_variance.bias"}
    assert own <= names_in(day / "run" / "checkpoint-4" / "model.safetensors")
    finished = names_in(day / "run" / "model.safetensors")
    assert not own & finished and {name for name in finished if name.startswith("feedback.mean.")}
    config = json.loads((day / "run" / "config.json").read_text())
    assert config["plugins"] == {"feedback": {"name": "colar", "module": "colar", "file": "colar.py"}}
    assert config["objective"] is None and config["num_latents"] == 4


def test_resumes(day):
    """From the checkpoint, weights of the objective included."""
    before = (day / "run" / "model.safetensors").read_bytes()
    settings = {**TRAIN, "dataset_path": "prosqa.json", "output_dir": "run"}
    command("train", *BOTH, folder=day, **settings, resume_from_checkpoint="run/checkpoint-2")
    assert (day / "run" / "model.safetensors").read_bytes() == before


@pytest.mark.distributed
def test_two_processes_are_the_same_run(day):
    """Started by ``accelerate launch``, whose processes load the plug-ins too; half the batch in each."""
    launcher = ["-m", "accelerate.commands.launch", "--config_file", str(ROOT / "accelerate_configs" / "cpu.yaml")]
    launcher += ["--num_processes", "2", "--main_process_port", "0", str(ROOT / "recipes" / "train.py")]
    settings = {**TRAIN, "per_device_train_batch_size": 4, "save_strategy": "no"}
    command("train", *BOTH, folder=day, launcher=launcher, **settings, dataset_path="prosqa.json", output_dir="two")
    curves = [
        [row["loss"] for row in json.loads((day / run / "trainer_state.json").read_text())["log_history"] if "loss" in row]
        for run in ("run", "two")
    ]
    assert len(curves[0]) == 4 and curves[1] == pytest.approx(curves[0], rel=1e-4)


def test_is_evaluated(day):
    data = {"dataset": "chains", "dataset_path": "prosqa.json"}
    said = command("evaluate", *BOTH, "--controls", "zero", folder=day, model="run", output="run.json", **data)
    record = json.loads((day / "run.json").read_text())
    assert "accuracy" in said and record["latents"] == 4 and set(record["controls"]) == {"zero"}
    said = command("generate", BOTH[0], BOTH[1], folder=day, model="run", question="Is Tom a w3 or w4?")
    assert said.strip()


def test_is_pushed_and_loaded_elsewhere(day, tmp_path, request):
    """A process without the plug-ins, and without this library, has the same logits and writes the same."""
    question = json.loads((day / "prosqa.json").read_text())[0]["question"]
    with loopback_hub() as hub:
        env = {**environment(hub, tmp_path), "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
        said = command("push", "run", *BOTH[:2], folder=day, env=env, repo_id="me/colar")
        assert "pushed as " in said
        files = hub.files("me/colar")
        code = files["latent_plugin_colar.py"].decode()
        assert "class LatentHead" in code and "Colar" not in code and "register" not in code
        card = files["README.md"].decode()
        assert "The feedback `colar` is code of plug-in `colar.py`, which travels with the model." in card
        assert "The dataset `chains` is code of plug-in `prosqa.py`, which running the model does not need." in card
        assert "Tan et al. 2025" in card
        python = clean_machine(request.config.cache.mkdir("tutorial"), "torch", "transformers")
        found = run_program(ELSEWHERE, "me/colar", question, python=python, server=hub, folder=tmp_path, library=False)
    assert found["module"].endswith(".latent_plugin_colar")
    logits, text = thought_of(day / "run", question)
    torch.testing.assert_close(torch.tensor(found["logits"]), logits, rtol=1e-5, atol=1e-6)
    assert found["text"] == text


def test_without_the_plugin(day):
    """The library says what is missing."""
    said = command("generate", folder=day, model="run", question="Is Tom a w3 or w4?", status=2)
    assert "feedback=colar is code of plug-in colar.py (module colar), which is not loaded; give --plugin colar.py" in said


def thought_of(folder: Path, question: str) -> tuple[torch.Tensor, str]:
    """Return logits and text of a folder's model, in a process that has the plug-ins."""
    program = (
        "import json, sys, torch\n"
        "from transformers import AutoTokenizer\n"
        "from latent_trainer import LatentForCausalLM, encode_prompts, load_plugin\n"
        "load_plugin(sys.argv[1])\n"
        "tokenizer, model = AutoTokenizer.from_pretrained('.'), LatentForCausalLM.from_pretrained('.')\n"
        "batch = encode_prompts([sys.argv[2]], tokenizer, model.config.num_latents, model.config.template)\n"
        "with torch.no_grad():\n    logits = model(**batch).logits[0].tolist()\n"
        "text = tokenizer.decode(model.generate(**batch)[0, batch['input_ids'].shape[1]:])\n"
        "print(json.dumps([logits, text]))\n"
    )
    words = [forked_python(), "-c", program, str(PLUGINS / "colar.py"), question]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=True)
    logits, text = json.loads(done.stdout.splitlines()[-1])
    return torch.tensor(logits), text


# ---- the contracts ----


class TestObjective(ObjectiveContract):
    plugin, objective = PLUGINS / "colar.py", "colar"


class TestSoftObjective(ObjectiveContract):
    plugin, objective, options = PLUGINS / "colar.py", "colar", {"loss": "soft_mse", "weight": 0.5}
    settings = {"method": "colar_reduced", "curriculum_options": {"factor": 2, "most": 3}}


class TestFeedback(FeedbackContract):
    plugin, feedback = PLUGINS / "colar.py", "colar"


class TestCurriculum(CurriculumContract):
    plugin, curriculum, options = PLUGINS / "colar.py", "grouped", {"factor": 2, "most": 4}


def test_the_data_set(tmp_path):
    """A file in the published format, and the published one where it is at hand."""
    load_plugin(PLUGINS / "prosqa.py")
    check_dataset("chains", str(write_prosqa(tmp_path / "prosqa.json")))
    check_dataset("chains", str(shared_file("data/prosqa/valid.json")))


def test_compressed_embeddings():
    """Of a row whose steps have 7 tokens and 3 latents: sums of 3, 3 and 1 embeddings over the root of their number."""
    load_plugin(PLUGINS / "colar.py")
    model = tiny_model(make_tokenizer())
    objective = build_objective("colar", {}, model.config)
    ids = torch.tensor([[3, 4, 5, 6, 7, 8, 9], [3, 4, 0, 0, 0, 0, 0]])
    chain = {"input_ids": ids, "attention_mask": torch.tensor([[1] * 7, [1] * 2 + [0] * 5])}
    mask = torch.tensor([[True, True, True], [True, False, False]])
    step = Step({}, {"views": {"chain": chain}}, latent_mask=mask, model=model)
    table = model.get_input_embeddings().weight
    found = objective.compressed(step)
    torch.testing.assert_close(found[0, 0], table[3:6].sum(0) / 3**0.5)
    torch.testing.assert_close(found[0, 1], table[6:9].sum(0) / 3**0.5)
    torch.testing.assert_close(found[0, 2], table[9])
    torch.testing.assert_close(found[1, 0], table[3:5].sum(0) / 2**0.5)
    assert not found[1, 1:].any()
