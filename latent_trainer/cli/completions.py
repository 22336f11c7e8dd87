"""``latent-trainer completions bash|zsh|fish``: print a script that lets a shell complete commands, options and recipes."""

import contextlib
import importlib
import io
import re

from latent_trainer import bundled
from latent_trainer.errors import InputError, check_choice
from latent_trainer_command import COMMANDS

SHELLS = {
    "bash": 'eval "$(latent-trainer completions bash)" in ~/.bashrc',
    "zsh": 'eval "$(latent-trainer completions zsh)" in ~/.zshrc',
    "fish": "latent-trainer completions fish > ~/.config/fish/completions/latent-trainer.fish",
}
OPTION = re.compile(r"^  (?:-\w, )?--(\w+)", re.MULTILINE)  # at the start of a line of a command's help
ACTIONS = {"data": ("export", "validate"), "recipes": ("list", "copy"), "completions": tuple(SHELLS)}


def run(argv: list[str]) -> None:
    """Print the script of a shell.

    Raises:
        InputError: no shell, or one that is not known.
    """
    if argv and argv[0] in ("-h", "--help"):
        print("usage: latent-trainer completions {bash,zsh,fish}\n")
        print("\n".join(f"{shell:5} {how}" for shell, how in SHELLS.items()))
        return
    if len(argv) != 1:
        raise InputError(f"completions takes the name of one shell: {', '.join(SHELLS)}")
    check_choice("shell", argv[0], SHELLS)
    words = {command: _words(command) for command in COMMANDS}
    print(_fish(words) if argv[0] == "fish" else _bash(words, argv[0]))


def _words(command: str) -> list[str]:
    """Return what may stand after a command: actions, names of recipes, options as its own help prints them."""
    actions = ACTIONS.get(command, ())
    words = [*actions, *(bundled.files() if command == "recipes" else ())]
    if command == "completions":
        return words
    try:
        module = importlib.import_module(f"latent_trainer.cli.{command}")
    except ModuleNotFoundError:  # an extra that is not installed: without it the command does not run either
        return words
    for action in actions or (None,):
        words += [f"--{name}" for name in OPTION.findall(_help(module, action)) if f"--{name}" not in words]
    return words


def _help(module, action: str | None) -> str:
    """Return what a command prints for ``--help``."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        module.run([*filter(None, [action]), "--help"])
    return printed.getvalue()


def _bash(words: dict[str, list[str]], shell: str) -> str:
    cases = "\n".join(f'        {command}) words="{" ".join(own)}" ;;' for command, own in words.items())
    setup = "autoload -U +X bashcompinit && bashcompinit\n" if shell == "zsh" else ""
    return f"""{setup}_latent_trainer() {{
    local word="${{COMP_WORDS[COMP_CWORD]}}" words=""
    case "${{COMP_WORDS[1]}}" in
{cases}
    esac
    if [ "$COMP_CWORD" -eq 1 ]; then words="{" ".join(words)}"; fi
    if [ "$COMP_CWORD" -gt 2 ] && [ -z "$word" ]; then words=""; fi  # the value of an option: a file
    COMPREPLY=($(compgen -W "$words" -- "$word"))
}}
complete -o default -F _latent_trainer latent-trainer"""


def _fish(words: dict[str, list[str]]) -> str:
    lines = []
    for command, about in COMMANDS.items():
        text = about.replace("'", "\\'")
        lines.append(f"complete -c latent-trainer -n __fish_use_subcommand -f -a {command} -d '{text}'")
    for command, own in words.items():
        for word in own:
            what = f"-l {word[2:]}" if word.startswith("--") else f"-a {word}"
            lines.append(f"complete -c latent-trainer -n '__fish_seen_subcommand_from {command}' {what}")
    return "\n".join(lines)
