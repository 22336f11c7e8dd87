"""``latent-trainer export``: write a trained model or adapter into a folder that needs transformers alone."""

from dataclasses import dataclass, field

from latent_trainer.cli.arguments import parse
from latent_trainer.hub import export_folder
from latent_trainer.whole_files import output_folder


@dataclass
class ExportArguments:
    """What is written, and where."""

    to: str = field(metadata={"help": "Folder that is written; it must not exist, or be empty."})
    folder: str = field(metadata={"help": "Folder that training wrote; may also be the first word after export."})
    merge: bool = field(default=False, metadata={"help": "Merge an adapter into its base model and write a full model."})

    def __post_init__(self):
        self.to = output_folder("to", self.to)


def run(argv: list[str]) -> None:
    """Write the folder and print its name."""
    if argv and not argv[0].startswith("-"):
        argv = ["--folder", *argv]
    (args,) = parse("export", (ExportArguments,), argv)
    print(f"exported to {export_folder(args.folder, args.to, merge=args.merge)}")
