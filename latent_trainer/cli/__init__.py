"""The command line: ``latent-trainer COMMAND``; every recipe script is one of these commands under ``accelerate launch``."""

import importlib
import sys

from safetensors import SafetensorError

from latent_trainer.errors import InputError, TrainingError, check_choice
from latent_trainer.whole_files import reason

COMMANDS = {
    "train": "train a model from a YAML recipe",
    "evaluate": "grade generated answers of a saved model",
    "generate": "answer questions with a saved model",
    "push": "publish a trained model or adapter on the Hub",
    "export": "write a trained model into a folder that needs transformers alone",
    "probe": "look at what the latents of a saved model hold",
    "sweep": "train a recipe over axes, points or a search, here or on Slurm",
    "compare": "compare result records, with paired tests",
    "data": "write problems to a file, or check a file of your own",
    "demo": "train a tiny model four ways and compare them",
    "env": "print versions and devices for a bug report",
}

EXTRAS = {"optuna": "sweep", "submitit": "sweep", "sklearn": "analysis"}  # packages that come only with an extra


def main(command: str | None = None, argv: list[str] | None = None) -> None:
    """Run a command; a mistake in the input ends it with one line and exit status 2, a run that cannot go on with status 1.

    Args:
        command: a key of ``COMMANDS``; None takes the first word of ``argv``.
        argv: the words after it, by default those of the process.
    """
    argv = sys.argv[1:] if argv is None else argv
    if command is None:
        if not argv or argv[0] in ("-h", "--help"):
            print("usage: latent-trainer COMMAND [--config FILE.yaml] [--option value ...]\n")
            print("\n".join(f"  {name:10} {about}" for name, about in COMMANDS.items()))
            print("\nlatent-trainer COMMAND --help lists the options of a command.")
            return
        command, *argv = argv
    try:
        check_choice("command", command, COMMANDS)
        importlib.import_module(f"latent_trainer.cli.{command}").run(argv)
    except ModuleNotFoundError as error:
        if error.name not in EXTRAS:
            raise
        print(
            f"latent-trainer: {command} needs {error.name}; pip install 'latent_trainer[{EXTRAS[error.name]}]'",
            file=sys.stderr,
        )
        raise SystemExit(2) from None
    except (InputError, FileNotFoundError, ConnectionError) as error:
        print(f"latent-trainer: {' '.join(str(error).split())}", file=sys.stderr)  # whatever a value holds, one line
        raise SystemExit(2) from None
    except TrainingError as error:
        print(f"latent-trainer: {' '.join(str(error).split())}", file=sys.stderr)
        raise SystemExit(1) from None
    except (OSError, SafetensorError) as error:  # a full disk, a folder without permission: no mistake of the program
        print(f"latent-trainer: {command} stopped: {reason(error)}", file=sys.stderr)
        raise SystemExit(1) from None
