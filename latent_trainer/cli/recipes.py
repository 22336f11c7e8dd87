"""``latent-trainer recipes list`` names the recipes that come with the library, ``recipes copy NAME`` copies one."""

import itertools
from dataclasses import dataclass, field
from pathlib import Path

from latent_trainer import bundled
from latent_trainer.cli.arguments import parse
from latent_trainer.errors import InputError, check_choice
from latent_trainer.whole_files import output_folder, replacing

ACTIONS = ("list", "copy")


@dataclass
class CopyArguments:
    """Which file is copied, and where."""

    name: str = field(metadata={"help": "A name that `recipes list` prints; also the first word after copy."})
    to: str = field(default=".", metadata={"help": "Folder the file goes to."})

    def __post_init__(self):
        self.name = self.name.removeprefix("recipes/").removesuffix(".yaml")
        check_choice("recipe", self.name, bundled.files())
        self.to = output_folder("to", self.to)


def run(argv: list[str]) -> None:
    """Run ``list`` or ``copy``, the first word."""
    if not argv or argv[0] in ("-h", "--help"):
        print("usage: latent-trainer recipes list\n       latent-trainer recipes copy NAME [--to FOLDER]")
        return
    action, *rest = argv
    check_choice("action of recipes", action, ACTIONS)
    if action == "list":
        parse("recipes list", (), rest)
        _list()
        return
    (args,) = parse("recipes copy", (CopyArguments,), ["--name", *rest] if rest and not rest[0].startswith("-") else rest)
    _copy(args)


def _list() -> None:
    """Print every name with the first line of its file."""
    files = bundled.files()
    width = max(map(len, files))
    for name, path in files.items():
        lines = itertools.takewhile(lambda line: line.startswith("#"), path.read_text(encoding="utf-8").splitlines())
        about = " ".join(line.removeprefix("#").strip() for line in lines)
        print(f"{name:{width}}  {about.partition('. ')[0].partition(' Reproduces: ')[0].removesuffix('.')}".rstrip())


def _copy(args: CopyArguments) -> None:
    source = bundled.files()[args.name]
    target = Path(args.to) / source.name
    if target.exists():
        raise InputError(f"{target} exists; delete it, or name another folder with --to")
    with replacing(target) as unfinished:
        Path(unfinished).write_bytes(source.read_bytes())
    print(f"copied to {target}")
    if args.name.startswith("accelerate_configs/"):
        print(f"use it with: accelerate launch --config_file {target} -m latent_trainer train --config RECIPE.yaml")
    else:
        command = {"sweeps": "sweep", "reinforce": "reinforce --config"}.get(args.name.partition("/")[0], "train --config")
        print(f"run it with: latent-trainer {command} {target}")
