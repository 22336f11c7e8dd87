"""``latent-trainer push``: publish a trained model or adapter on the Hub."""

from dataclasses import dataclass, field

from latent_trainer.cli.arguments import parse
from latent_trainer.hub import push_folder
from latent_trainer.options import check_fields


@dataclass
class PushArguments:
    """What is published, and where."""

    repo_id: str = field(metadata={"help": "Repository: me/name, or name alone for the owner of the token."})
    folder: str = field(metadata={"help": "Folder that training wrote; may also be the first word after push."})
    private: bool = field(default=False, metadata={"help": "Make a new repository private; refuse a public one."})
    merge: bool = field(default=False, metadata={"help": "Merge an adapter into its base model and push a full model."})
    dataset: str | None = field(
        default=None, metadata={"help": "What it was trained on; by default what the train command was given."}
    )
    license: str | None = field(
        default=None, metadata={"help": "Licence of the weights, as the Hub names it; by default the base model's."}
    )
    revision: str | None = field(default=None, metadata={"help": "Branch that is pushed to; the main one by default."})
    space: bool = field(
        default=False, metadata={"help": "Also push a Space of the same name: a page that shows the model's thoughts."}
    )

    def __post_init__(self):
        check_fields(self)


def run(argv: list[str]) -> None:
    """Push a folder and print where it can be seen."""
    if argv and not argv[0].startswith("-"):
        argv = ["--folder", *argv]
    (args,) = parse("push", (PushArguments,), argv)
    settings = {**vars(args), "private": args.private or None}
    print(f"pushed as {push_folder(**settings).commit_url}")
