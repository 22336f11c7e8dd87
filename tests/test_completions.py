"""Completions of the shells: every command, its own options, recipes; the bash script is tried in bash."""

import contextlib
import io
import shutil
import subprocess

import pytest

from latent_trainer import bundled
from latent_trainer.cli import main
from latent_trainer_command import COMMANDS


@pytest.fixture(scope="module")
def scripts(tmp_path_factory):
    """Return the file that a shell reads, by shell."""
    folder, files = tmp_path_factory.mktemp("completions"), {}
    for shell in ("bash", "zsh", "fish"):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            main("completions", [shell])
        files[shell] = folder / shell
        files[shell].write_text(printed.getvalue())
    return files


def completed(script, *words: str) -> list[str]:
    """Return what bash offers for the last of the words."""
    program = (
        f'source {script}; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _latent_trainer; printf "%s\\n" "${{COMPREPLY[@]}}"'
    )
    done = subprocess.run(["bash", "-c", program, "bash", *words], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("latent-trainer", ""), list(COMMANDS)),
        (("latent-trainer", "ev"), ["evaluate"]),
        (("latent-trainer", "train", "--latents_"), ["--latents_per_step"]),
        (("latent-trainer", "evaluate", "--max_new"), ["--max_new_tokens"]),
        (("latent-trainer", "data", "val"), ["validate"]),
        (("latent-trainer", "data", "export", "--siz"), ["--size"]),
        (("latent-trainer", "recipes", "copy", "tiny/gsm"), ["tiny/gsm8k-coconut"]),
        (("latent-trainer", "completions", ""), ["bash", "zsh", "fish"]),
        (("latent-trainer", "train", "--config", ""), []),
    ],
    ids=lambda words: " ".join(words[1:]) if isinstance(words, tuple) else "",
)
def test_bash(scripts, words, offered):
    assert completed(scripts["bash"], *words) == offered


def test_zsh_reads_the_same_through_its_own_function(scripts):
    assert scripts["zsh"].read_text() == f"autoload -U +X bashcompinit && bashcompinit\n{scripts['bash'].read_text()}"


def test_fish(scripts):
    lines = scripts["fish"].read_text().splitlines()
    assert all(line.startswith("complete -c latent-trainer -n ") for line in lines)
    commands = [line for line in lines if "__fish_use_subcommand" in line]
    assert len(commands) == len(COMMANDS)
    assert "complete -c latent-trainer -n '__fish_seen_subcommand_from train' -l latents_per_step" in lines
    assert sum("from recipes' -a " in line for line in lines) == 2 + len(bundled.files())


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_shell_takes_it(scripts, shell):
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")
    subprocess.run([shell, "-n", str(scripts[shell])], check=True)


@pytest.mark.parametrize("words", [[], ["tcsh"], ["bash", "zsh"]], ids=str)
def test_another_shell_is_refused(words, capsys):
    with pytest.raises(SystemExit):
        main("completions", words)
    assert "bash, zsh, fish" in capsys.readouterr().err
