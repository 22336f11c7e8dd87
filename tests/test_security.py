"""What the source never does: run what it reads, open pickles, start shells, trust code nobody asked for."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted(path for folder in ("latent_trainer", "recipes") for path in (ROOT / folder).rglob("*.py"))
NAMES = [str(path.relative_to(ROOT)) for path in SOURCES]


def calls(source: str) -> list[tuple[str, ast.Call]]:
    """Return the dotted name of every call with the call."""
    return [(ast.unparse(node.func), node) for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]


def complaints(source: str) -> list[str]:
    """Return what is forbidden in a source file."""
    found = []
    for name, call in calls(source):
        last = name.rpartition(".")[2]
        settings = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
        if name in ("eval", "exec", "os.system", "os.popen") or settings.get("shell") == "True":
            found.append(f"runs text: {name}")
        if name in ("torch.load", "pickle.load", "pickle.loads", "torch.save", "joblib.load", "np.load"):
            found.append(f"opens or writes a pickle: {name}")
        if last == "safe_load" or (name == "yaml.load" and len(call.args) < 2):
            found.append("reads YAML without the loader of cli/arguments.py")
        if settings.get("trust_remote_code") == "True":
            found.append(f"trusts remote code: {name}")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            modules = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
            found += [f"imports {module}" for module in modules if module.split(".")[0] in ("pickle", "dill", "cloudpickle")]
    return found


def test_the_sources_were_found():
    assert len(NAMES) > 80


@pytest.mark.parametrize("name", NAMES)
def test_source(name):
    assert complaints((ROOT / name).read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "source",
    [
        "eval('1')",
        "import os\nos.system('ls')",
        "subprocess.run('ls', shell=True)",
        "torch.load(path)",
        "import pickle",
        "from cloudpickle import loads",
        "yaml.load(text)",
        "AutoModel.from_pretrained(name, trust_remote_code=True)",
    ],
)
def test_the_check_finds_it(source):
    assert complaints(source)


def test_remote_code_is_off_by_default():
    text = (ROOT / "latent_trainer" / "cli" / "arguments.py").read_text(encoding="utf-8")
    assert re.search(r"trust_remote_code: bool = field\(default=False", text)


def test_no_token_or_folder_in_records(tmp_path, monkeypatch):
    """A record keeps names of files, not folders, and nothing of the environment's tokens."""
    from latent_trainer.evaluation.record import write_record

    monkeypatch.setenv("HF_TOKEN", "hf_secretsecret")
    model = tmp_path / "folder" / "model"
    model.mkdir(parents=True)
    config = {"model": str(model), "output": str(tmp_path / "record.json"), "dataset_path": str(model), "seed": 0}
    write_record(str(tmp_path / "record.json"), {"accuracy": 0.5}, config)
    text = (tmp_path / "record.json").read_text()
    assert "hf_secret" not in text
    assert str(tmp_path) not in text and '"model": "model"' in text
