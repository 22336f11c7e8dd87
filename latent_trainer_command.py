"""The front door of ``latent-trainer``: its help and version without the library, which takes seconds to import.

Importing `latent_trainer` registers its models with transformers, so that this module stands beside it and not in it.
"""

import runpy
import sys
from pathlib import Path

COMMANDS = {
    "train": "train a model from a YAML recipe",
    "reinforce": "train a saved model further by reinforcement learning, thoughts included",
    "reward": "train a small model that tells right thoughts from wrong ones, for best of N",
    "evaluate": "grade generated answers of a saved model",
    "generate": "answer questions with a saved model",
    "chat": "talk to a saved model in the terminal, and look into its thoughts",
    "view": "look at the thoughts of a saved model in a page of the browser",
    "push": "publish a trained model or adapter on the Hub",
    "export": "write a trained model into a folder that needs transformers alone",
    "serve": "answer over HTTP, as OpenAI's API does, through transformers' own server",
    "audit": "test whether the latents of a saved model do anything",
    "probe": "look at what the latents of a saved model hold",
    "sweep": "train a recipe over axes, points or a search, here or on Slurm",
    "compare": "compare result records, with paired tests",
    "data": "write problems to a file, or check a file of your own",
    "reproduce": "train a recipe that follows a published run, test it, and compare the figures",
    "recipes": "list the recipes that come with the library, or copy one",
    "demo": "train a tiny model four ways and compare them",
    "env": "print versions and devices for a bug report",
    "completions": "print a script that completes commands and options in bash, zsh or fish",
}


def main() -> None:
    """Answer the words of the process: help and version here, everything else in `latent_trainer.cli`."""
    text = answer(sys.argv[1:])
    if text is None:
        from latent_trainer.cli import main as run

        run()
    else:
        print(text)


def answer(words: list[str]) -> str | None:
    """Return what is printed where the words ask for help or for the version, None where they ask for something else."""
    if not words or words[0] in ("-h", "--help"):
        commands = "\n".join(f"  {name:11} {about}" for name, about in COMMANDS.items())
        return (
            "usage: latent-trainer COMMAND [--config FILE.yaml] [--option value ...]\n\n"
            f"{commands}\n\nlatent-trainer COMMAND --help lists the options of a command; --version prints the version."
        )
    if words[0] == "--version":
        file = Path(__file__).resolve().with_name("latent_trainer") / "version.py"
        return f"latent-trainer {runpy.run_path(str(file))['__version__']}"
    return None


if __name__ == "__main__":
    main()
