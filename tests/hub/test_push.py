"""Pushing through the real client to a Hub on loopback: one commit, only what changed, and errors in one line."""

import json
import logging
import shutil
import subprocess
import sys

import pytest
import yaml
from hub_machines import ROOT, environment
from hub_server import MY_TOKEN, TOKENS, YOUR_TOKEN
from training import make_trainer

from latent_trainer import LatentForCausalLM
from latent_trainer.cli import main
from latent_trainer.cli.arguments import parse
from latent_trainer.cli.view import ViewArguments
from latent_trainer.errors import InputError
from latent_trainer.hub import push_folder

pytest_plugins = ["hub_fixtures"]
# huggingface_hub 2.4 gives httpx2 a large file by the old name
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>':DeprecationWarning")


def push(folder, *words: str):
    """Run the command."""
    main("push", [str(folder), "--repo-id", *words])


def complaint(capfd, folder, *words: str) -> str:
    """Return the one line a push that fails ends with; the token is in nothing that was printed."""
    with pytest.raises(SystemExit) as ended:
        push(folder, *words)
    printed = capfd.readouterr()
    assert ended.value.code == 2
    assert not any(token in printed.out + printed.err for token in TOKENS)
    before, line = printed.err.split("latent-trainer: ")  # before: what the client shows of its progress
    assert "Traceback" not in before and line.count("\n") == 1
    return line


def test_a_model_is_one_commit(hub, trained, capfd):
    push(trained / "full", "me/one")
    assert f"pushed as {hub.url}/me/one/commit/" in capfd.readouterr().out
    assert len(hub.operations) == 1 and not hub.repositories["me/one"].private
    files = hub.files("me/one")
    expected = {"model.safetensors", "config.json", "generation_config.json", "tokenizer.json", "README.md"}
    expected |= {"training_arguments.json", "data_arguments.json", "latent_modeling.py", "learning_curve.png"}
    expected |= {"results/model.json", "results/train_results.json", "results/eval_results.json", "chat_template.jinja"}
    assert expected <= set(files)
    assert not any(name.endswith((".bin", ".pt", ".pth", ".pkl")) for name in files)
    assert files["learning_curve.png"].startswith(b"\x89PNG")


def test_nothing_of_this_machine_is_published(hub, trained):
    for name in ("full", "adapter"):
        push(trained / name, "me/clean")
        for path, content in hub.files("me/clean").items():
            for secret in (*TOKENS, str(trained), str(trained.parent)):
                assert secret.encode() not in content, f"{path} holds {secret}"
        arguments = json.loads(hub.files("me/clean")["training_arguments.json"])
        assert not {name for name in arguments if name.endswith("_token") or name.endswith("_dir")}
        assert arguments["method"] == ("coconut" if name == "full" else "codi")


def test_pushed_again_nothing_is_sent(hub, trained, capfd):
    push(trained / "full", "me/again")
    commits = len(hub.repositories["me/again"].commits)
    hub.forget()
    push(trained / "full", "me/again")
    assert len(hub.repositories["me/again"].commits) == commits
    assert not [request for request in hub.requests if "/commit/" in request or request.startswith("PUT")]


def test_only_changes_are_sent(hub, trained, capfd):
    push(trained / "full", "me/changes")
    hub.forget()
    main("push", ["--folder", str(trained / "full"), "--repo_id", "me/changes", "--license", "mit"])
    assert hub.operations == [[("file", "README.md")]]
    assert not [request for request in hub.requests if request.startswith("PUT")]


def test_what_an_earlier_push_left_goes(hub, trained):
    push(trained / "adapter", "me/mixed")
    assert {"adapter_config.json", "adapter_model.safetensors"} <= set(hub.files("me/mixed"))
    files = hub.files("me/mixed")
    files["latent_old.py"] = files["notes.md"] = files["mine/model.safetensors"] = b"x"
    push(trained / "full", "me/mixed")
    now = set(hub.files("me/mixed"))
    assert not {"adapter_config.json", "adapter_model.safetensors", "latent_old.py"} & now
    assert {"model.safetensors", "notes.md", "mine/model.safetensors"} <= now


def test_the_folder_one_stands_in(hub, trained, monkeypatch):
    """Its record lies beside it there too."""
    monkeypatch.chdir(trained / "full")
    push(".", "me/here")
    assert "results/model.json" in hub.files("me/here")


def test_merged(hub, trained):
    push(trained / "adapter", "me/merged-here", "--merge")
    files = hub.files("me/merged-here")
    assert "model.safetensors" in files and "adapter_config.json" not in files
    assert json.loads(files["config.json"])["base_name_or_path"] == "me/base"


def test_private(hub, trained, capfd):
    push(trained / "adapter", "me/hidden", "--private")
    assert hub.repositories["me/hidden"].private
    push(trained / "adapter", "me/hidden", "--private")  # it is private already
    push(trained / "adapter", "me/open")
    capfd.readouterr()
    commits = len(hub.repositories["me/open"].commits)
    assert "me/open exists and is public" in complaint(capfd, trained / "adapter", "me/open", "--private")
    assert len(hub.repositories["me/open"].commits) == commits


def test_a_name_alone_belongs_to_the_owner_of_the_token(hub, trained):
    push(trained / "adapter", "alone")
    assert "README.md" in hub.files("me/alone")


@pytest.mark.parametrize("token", ["secret-of-nobody-on-loopback", None])
def test_bad_token(hub, trained, capfd, monkeypatch, token):
    monkeypatch.delenv("HF_TOKEN") if token is None else monkeypatch.setenv("HF_TOKEN", token)
    for name in ("me/never", "never"):
        line = complaint(capfd, trained / "full", name)
        assert "hf auth login" in line and str(token) not in line
    assert "me/never" not in hub.repositories


def test_the_repository_of_someone_else(hub, trained, capfd, monkeypatch):
    push(trained / "adapter", "me/mine")
    commits = len(hub.repositories["me/mine"].commits)
    monkeypatch.setenv("HF_TOKEN", YOUR_TOKEN)
    assert "may not write to me/mine" in complaint(capfd, trained / "adapter", "me/mine")
    assert len(hub.repositories["me/mine"].commits) == commits


@pytest.mark.parametrize("request_", ["PUT /large/", "POST .*/preupload/", "POST .*/batch", "POST .*/commit/"])
def test_server_error_then_retry(hub, trained, capfd, monkeypatch, request_):
    """A server that fails for long leaves nothing published; the same command then succeeds."""
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)
    name = f"me/broken-{len(request_)}"
    hub.large.clear()
    hub.fail(request_, times=50)
    line = complaint(capfd, trained / "full", name)
    assert "HTTP 500" in line and "nothing was published" in line and "again" in line
    assert set(hub.files(name)) == {".gitattributes"}
    hub.forget()
    push(trained / "full", name)
    assert {"README.md", "model.safetensors"} <= set(hub.files(name)) and len(hub.operations) == 1
    sent = [request for request in hub.requests if request.startswith("PUT")]
    assert len(sent) == (0 if "commit" in request_ else 1)  # what had arrived is not sent twice


def test_an_update_that_fails_leaves_what_was_there(hub, trained, capfd):
    push(trained / "adapter", "me/kept")
    before = dict(hub.files("me/kept"))
    hub.fail("POST .*/commit/")
    assert "nothing was published" in complaint(capfd, trained / "full", "me/kept")
    assert hub.files("me/kept") == before


def test_shards(hub, trained, tmp_path):
    """A model in several files is pushed with their index; in one file again, the index and the shards go."""
    shutil.copytree(trained / "full", tmp_path / "out")
    (tmp_path / "out" / "model.safetensors").unlink()
    LatentForCausalLM.from_pretrained(str(trained / "full")).save_pretrained(tmp_path / "out", max_shard_size="200KB")
    push(tmp_path / "out", "me/shards")
    shards = {name for name in hub.files("me/shards") if name.endswith(".safetensors")}
    assert len(shards) > 1 and "model.safetensors.index.json" in hub.files("me/shards")
    push(trained / "full", "me/shards")
    assert not (shards | {"model.safetensors.index.json"}) & set(hub.files("me/shards"))


def test_from_a_recipe(hub, tmp_path):
    """``push_to_hub`` pushes at the end of the run, with what was measured."""
    argv = ["--config", str(ROOT / "recipes/tiny/arithmetic-coconut.yaml"), "--output_dir", str(tmp_path / "out")]
    argv += ["--max_steps", "1", "--eval_steps", "1", "--max_eval_problems", "4", "--max_train_problems", "16"]
    argv += ["--push_to_hub", "true", "--hub_model_id", "me/by-recipe", "--disable_tqdm", "true", "--log_level", "error"]
    main("train", argv)
    files = hub.files("me/by-recipe")
    assert {"results/eval_results.json", "learning_curve.png", "data_arguments.json"} <= set(files)
    assert b"| arithmetic | validation |" in files["README.md"]


def test_a_hiccup_is_not_even_noticed(hub, trained, monkeypatch):
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)
    hub.large.clear()
    hub.fail("PUT /large/", status=503, times=1)
    push(trained / "full", "me/hiccup")
    assert "README.md" in hub.files("me/hiccup")


def test_no_server(hub, trained, capfd, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    assert "could not be reached" in complaint(capfd, trained / "full", "me/unreached")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["me/x y"], "is not the name of a repository"),
        (["me/refused", "--license", "beer"], '"license" must be one of'),
        (["me/refused", "--revision", "side"], "me/refused has no such branch"),
        (["me/x", "--merge"], "nothing to merge"),
    ],
)
def test_a_wish_that_cannot_be_granted(hub, trained, capfd, words, message):
    assert message in complaint(capfd, trained / "full", *words)


def test_a_folder_that_cannot_be_published(hub, trained, capfd, tmp_path):
    assert "holds no latent model" in complaint(capfd, tmp_path, "me/x")
    assert "holds no latent model" in complaint(capfd, trained / "base", "me/x")
    pickled = tmp_path / "pickled"
    pickled.mkdir()
    for path in (trained / "full").iterdir():
        if path.is_file() and path.suffix != ".safetensors":
            (pickled / path.name).write_bytes(path.read_bytes())
    (pickled / "pytorch_model.bin").write_bytes(b"x")
    assert "weights are a pickle (pytorch_model.bin)" in complaint(capfd, pickled, "me/x")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (pickled / name).unlink()
    assert "has no tokenizer" in complaint(capfd, pickled, "me/x")
    (pickled / "config.json").write_text("{")
    assert "config.json: malformed JSON in line 1" in complaint(capfd, pickled, "me/x")
    assert "me/x" not in hub.repositories


@pytest.mark.parametrize("file", ["config.json", "adapter_config.json"])
def test_an_adapter_on_a_base_of_this_machine(hub, trained, capfd, tmp_path, file):
    for path in (trained / "adapter").iterdir():
        if path.is_file():
            (tmp_path / path.name).write_bytes(path.read_bytes())
    settings = json.loads((tmp_path / file).read_text())
    settings["base_name_or_path" if file == "config.json" else "base_model_name_or_path"] = str(trained / "base")
    (tmp_path / file).write_text(json.dumps(settings))
    line = complaint(capfd, tmp_path, "me/local")
    assert "local folder (base)" in line and "merge" in line


def test_from_the_trainer(hub, tmp_path, capfd, caplog):
    """The stock switches push at the end of training, through this library; the token is in no log."""
    caplog.set_level(logging.DEBUG)
    token = {"push_to_hub": True, "hub_model_id": "me/by-trainer", "hub_token": MY_TOKEN, "hub_private_repo": True}
    trainer = make_trainer(tmp_path / "out", max_steps=2, save_strategy="steps", save_steps=1, **token)
    trainer.train()
    assert set(hub.files("me/by-trainer")) == {".gitattributes"}  # nothing while it runs
    trainer.save_model()
    assert "model.safetensors" in hub.files("me/by-trainer")
    info = trainer.push_to_hub(commit_message="Done", license="mit")
    assert info.oid == hub.repositories["me/by-trainer"].commits[-1][0] and hub.repositories["me/by-trainer"].private
    future = trainer.push_to_hub(blocking=False, license="mit")
    assert future.result().oid == info.oid  # nothing has changed
    assert b"license: mit" in hub.files("me/by-trainer")["README.md"]
    assert not any(name.endswith(".bin") for name in hub.files("me/by-trainer"))
    printed = capfd.readouterr()
    published = b"".join(hub.files("me/by-trainer").values())
    assert MY_TOKEN not in printed.out + printed.err + caplog.text and MY_TOKEN.encode() not in published
    assert MY_TOKEN.encode() not in b"".join(path.read_bytes() for path in (tmp_path / "out").glob("*.json"))


def test_the_recipe_in_a_fresh_process(hub, trained, tmp_path):
    """What a user runs, told of the Hub by its environment alone."""
    done = subprocess.run(
        [
            sys.executable,
            str(ROOT / "recipes" / "push_to_hub.py"),
            str(trained / "adapter"),
            "--repo-id",
            "recipe",
            "--merge",
        ],
        env=environment(hub, tmp_path) | {"PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith(f"pushed as {hub.url}/me/recipe/commit/")
    assert MY_TOKEN not in done.stdout + done.stderr
    assert {"model.safetensors", "latent_modeling.py"} <= set(hub.files("me/recipe"))


def test_checkpoints_are_never_pushed(tmp_path):
    with pytest.raises(InputError, match="hub_strategy=checkpoint"):
        make_trainer(tmp_path, push_to_hub=True, hub_strategy="checkpoint")


def test_the_python_function_gives_the_commit(hub, trained):
    info = push_folder(trained / "full", "me/function", token=MY_TOKEN)
    assert info.commit_url.startswith(f"{hub.url}/me/function/commit/")


def test_a_space_next_to_the_model(hub, trained, capfd):
    push(trained / "full", "me/shown", "--space")
    files = hub.files("spaces/me/shown")
    card = yaml.safe_load(files["README.md"].decode().split("---")[1])
    assert card["sdk"] == "gradio" and card["models"] == ["me/shown"] and card["app_file"] in files
    assert files["requirements.txt"].decode().startswith("latent_trainer[app]==")
    calls = []
    app = files["app.py"].decode().replace("from latent_trainer.cli import main\n", "")
    exec(app, {"main": lambda *words: calls.append(words)})
    ((command, words),) = calls
    (arguments,) = parse(command, (ViewArguments,), words)
    assert (arguments.model, arguments.host, arguments.port) == ("me/shown", "0.0.0.0", 7860)
    push(trained / "full", "me/shown", "--space")  # once more, over what is there


@pytest.mark.parametrize("words", [["--private", "true"], ["--revision", "draft"]])
def test_a_space_shows_what_is_public(hub, trained, capfd, words):
    hub.forget()
    line = complaint(capfd, trained / "full", "me/secret", "--space", *words)
    assert "leave out space" in line and not hub.requests
