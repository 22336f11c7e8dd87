"""``latent-trainer view``: a page of the browser that shows a saved model's thoughts."""

from dataclasses import dataclass, field
from pathlib import Path

from latent_trainer.app.thinker import Thinker
from latent_trainer.cli.arguments import parse
from latent_trainer.cli.build import load_any
from latent_trainer.options import Positive, check_fields


@dataclass
class ViewArguments:
    """Whose thoughts are shown, and where."""

    model: str = field(
        metadata={"help": "Folder or Hub name of a model, an adapter or a base; may also be the first word after view."}
    )
    feedback: str | None = field(default=None, metadata={"help": "Let a base model think untrained: soft."})
    template: str | None = field(default=None, metadata={"help": "Prompt template of a base model, as for generate."})
    host: str = field(default="127.0.0.1", metadata={"help": "Address that is listened to; 0.0.0.0 lets other machines in."})
    port: Positive | None = field(
        default=None, metadata={"help": "Port that is listened to; by default the first free one from 7860 on."}
    )
    share: bool = field(default=False, metadata={"help": "Also show it under a public address, through Gradio's servers."})

    def __post_init__(self):
        check_fields(self)


def run(argv: list[str]) -> None:
    """Serve the page until it is stopped.

    Raises:
        InputError: no model there, or a plain base model without a feedback.
        ModuleNotFoundError: the extra ``app`` is not installed.
    """
    if argv and not argv[0].startswith("-"):
        argv = ["--model", *argv]
    (args,) = parse("view", (ViewArguments,), argv)
    from latent_trainer.app.page import LOOK, page  # Gradio takes seconds to import

    thinker = Thinker(*load_any(args.model, args.template, args.feedback))
    name = Path(args.model).name if Path(args.model).is_dir() else args.model
    page(thinker, name).launch(server_name=args.host, server_port=args.port, share=args.share, **LOOK)
