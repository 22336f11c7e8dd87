"""What docs/hub.md and README show runs as printed; the blocks that load from the Hub run in test_round_trip.py."""

import re
import shlex
from pathlib import Path

import pytest
from hub_machines import ROOT, documented
from training import make_trainer

from latent_trainer import LatentForCausalLM
from latent_trainer.cli import main

pytest_plugins = ["hub_fixtures"]
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>':DeprecationWarning")  # as in test_push.py
PAGE = (ROOT / "docs" / "hub.md").read_text(encoding="utf-8")
COMMANDS = {
    "docs/hub.md": re.search(r"```bash\n(.*?)```", PAGE, re.DOTALL)[1].splitlines(),
    "README.md": re.findall(r"^latent-trainer push .*", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE),
}


@pytest.fixture
def runs(trained, tmp_path, monkeypatch):
    """The folders the page speaks of."""
    (tmp_path / "runs" / "tiny").mkdir(parents=True)
    (tmp_path / "runs" / "adapter").symlink_to(trained / "adapter")
    (tmp_path / "runs" / "tiny" / "arithmetic-coconut").symlink_to(trained / "full")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "runs"


@pytest.mark.parametrize("page", COMMANDS)
def test_commands(hub, runs, page):
    for command in COMMANDS[page]:
        words = shlex.split(command)
        if words[0] == "python":
            assert words[1] == "recipes/push_to_hub.py" and 'main("push")' in (ROOT / words[1]).read_text()
        else:
            assert words[:2] == ["latent-trainer", "push"]
        main("push", words[2:])
        name = words[words.index("--repo-id") + 1]
        assert ("adapter_config.json" in hub.files(name)) == ("adapter" in words[2] and "--merge" not in words)
        assert hub.repositories[name].private == ("--private" in words)
    assert len(COMMANDS[page]) == (3 if page == "docs/hub.md" else 1)


def test_from_the_trainer(hub, tmp_path):
    (block,) = documented(PAGE, "trainer.push_to_hub")
    trainer = make_trainer(tmp_path / "mine", max_steps=1)
    trainer.train()
    exec(compile(block, "docs/hub.md", "exec"), {"trainer": trainer})
    assert b"| dataset | arithmetic |" in hub.files("me/mine")["README.md"]


def test_merge_on_disk(hub, runs):
    """Merged, the adapter is a full model; its base comes from the Hub."""
    (block,) = documented(PAGE, "runs/merged")
    names = {"LatentForCausalLM": LatentForCausalLM}
    exec(compile(block, "docs/hub.md", "exec"), names)
    assert Path("runs/merged/model.safetensors").is_file() and not Path("runs/merged/adapter_config.json").exists()


def test_every_block_is_run_by_a_test():
    """Two here, three in fresh processes."""
    assert len(documented(PAGE, "")) == 5
    assert len(documented(PAGE, "encode_prompts")) == 1 and len(documented(PAGE, "trust_remote_code")) == 2
