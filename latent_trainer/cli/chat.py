"""``latent-trainer chat``: talk to a saved model in the terminal, and unfold what its latents are near to."""

import sys
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table
from rich.text import Text
from transformers import TextStreamer

from latent_trainer.app.thinker import Reading, Thinker
from latent_trainer.cli.arguments import parse
from latent_trainer.cli.build import load_any
from latent_trainer.errors import InputError
from latent_trainer.options import Count, Positive, check_fields

HELP = """!latents N    think with N latents from now on; 0 thinks with none
!thought      unfold the last thought: the nearest tokens of every latent, and its steps where the model has a step decoder
!clear        begin a new conversation
!help         these lines
!exit         leave; so does the end of the input"""
FOLDED = 48  # characters of a thought that stands in one line


@dataclass
class ChatArguments:
    """Who answers, and with how many latents."""

    model: str = field(
        metadata={"help": "Folder or Hub name of a model, an adapter or a base; may also be the first word after chat."}
    )
    num_latents: Count | None = field(default=None, metadata={"help": "Latents of every thought; by default as trained."})
    no_latents: bool = field(default=False, metadata={"help": "Think with no latents, as num_latents 0."})
    feedback: str | None = field(default=None, metadata={"help": "Let a base model think untrained: soft."})
    template: str | None = field(default=None, metadata={"help": "Prompt template of a base model, as for generate."})
    max_new_tokens: Positive | None = field(
        default=None, metadata={"help": "Tokens written at most, the thought apart; by default as trained."}
    )

    def __post_init__(self):
        check_fields(self)
        if self.no_latents and self.num_latents:
            raise InputError(f"no_latents and num_latents={self.num_latents} contradict each other; give one of them")


class _Streamer(TextStreamer):
    """Writes an answer word by word, as plain text."""

    def __init__(self, tokenizer, console: Console):
        super().__init__(tokenizer, skip_prompt=True, skip_special_tokens=True)
        self.console = console

    def on_finalized_text(self, text: str, stream_end: bool = False):
        """Print what is whole."""
        self.console.print(Text(text), end="\n" if stream_end else "", soft_wrap=True)


def run(argv: list[str]) -> None:
    """Answer line after line until the input ends."""
    if argv and not argv[0].startswith("-"):
        argv = ["--model", *argv]
    (args,) = parse("chat", (ChatArguments,), argv)
    wanted = 0 if args.no_latents else args.num_latents
    model, tokenizer = load_any(args.model, args.template, args.feedback, thinks=bool(wanted))
    Chat(Thinker(model, tokenizer), Console(), wanted, args.max_new_tokens).talk()


class Chat:
    """A conversation in the terminal.

    Args:
        thinker: who answers.
        console: where it is written.
        num_latents: K; None is as trained.
        max_new_tokens: tokens written at most; None is as trained.
    """

    def __init__(self, thinker: Thinker, console: Console, num_latents: int | None, max_new_tokens: int | None):
        self.thinker, self.console = thinker, console
        self.num_latents = thinker.most if num_latents is None else num_latents
        self.max_new_tokens = max_new_tokens
        self.messages: list[dict[str, str]] = []
        self.last: Reading | None = None

    def talk(self) -> None:
        """Read lines until the input ends or somebody leaves."""
        shows = sys.stdin.isatty()
        if shows:
            self.console.print(f"{self.num_latents} latents a thought. !help lists what else can be said.", style="dim")
        while True:
            try:
                line = self.console.input("[bold]> [/]") if shows else next(sys.stdin)
            except (EOFError, StopIteration, KeyboardInterrupt):
                return
            if line.strip() == "!exit":
                return
            try:
                self.hear(line.strip())
            except InputError as error:  # of one message; the conversation goes on without it
                self.console.print(Text(str(error), style="red"))

    def hear(self, line: str) -> None:
        """Carry out a command or answer a message; an empty line is neither."""
        if not line:
            return
        if not line.startswith("!"):
            self.say(line)
            return
        command, *words = line[1:].split()[:2] or [""]
        if command == "latents" and words and words[0].isdecimal():
            self.num_latents = int(words[0])
        elif command == "thought":
            self.unfold()
        elif command == "clear":
            self.messages, self.last = [], None
        elif command == "help":
            self.console.print(Text(HELP))
        else:
            raise InputError(f"{line} is no command; !help lists them")

    def say(self, message: str) -> None:
        """Answer a message and fold its thought under the answer."""
        messages = [*self.messages, {"role": "user", "content": message}]
        streamer = _Streamer(self.thinker.tokenizer, self.console)
        self.last = self.thinker.answer(messages, self.num_latents, self.max_new_tokens, streamer=streamer)
        self.messages = [*messages, {"role": "assistant", "content": self.last.answer}]
        number = len(self.last.nearest)
        words = " | ".join(latent[0][0].strip() for latent in self.last.nearest)
        folded = words if len(words) <= FOLDED else words[: FOLDED - 3] + "..."
        latents = f"{number} latent{'' if number == 1 else 's'}"
        self.console.print(Text(f"  {latents}, near {folded}  (!thought)" if number else "  no latents", style="dim"))

    def unfold(self) -> None:
        """Print the nearest tokens of every latent of the last thought, and what the step decoder reads."""
        if self.last is None or not self.last.nearest:
            raise InputError("there is no thought yet; ask something first, with latents")
        table = Table("latent", "nearest tokens (cosine)", "would be written next")
        for number, (near, (next_token, chance)) in enumerate(zip(self.last.nearest, self.last.lens[-1], strict=True), 1):
            own = "  ".join(f"{token.strip() or repr(token)} {cosine:.2f}" for token, cosine in near)
            table.add_row(str(number), Text(own), Text(f"{next_token.strip() or repr(next_token)} {chance:.2f}"))
        self.console.print(table)
        for number, step in enumerate(self.last.steps, 1):
            self.console.print(Text(f"  [{number}] {step}"))
