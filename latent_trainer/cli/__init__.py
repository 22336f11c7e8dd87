"""The command line: ``latent-trainer COMMAND``; every recipe script is one of these commands under ``accelerate launch``."""

import importlib
import json
import os
import sys
import time
from pathlib import Path

from safetensors import SafetensorError

from latent_trainer.errors import InputError, TrainingError, check_choice
from latent_trainer.whole_files import reason
from latent_trainer_command import COMMANDS, answer

EXTRAS = {
    "optuna": "sweep",
    "submitit": "sweep",
    "sklearn": "analysis",
    "gradio": "app",
}  # packages that come only with an extra
EXTRAS |= dict.fromkeys(("fastapi", "openai", "uvicorn"), "serve")
ERROR_FILE = "TORCHELASTIC_ERROR_FILE"  # where torch's launcher looks for why a process has failed


def main(command: str | None = None, argv: list[str] | None = None) -> None:
    """Run a command; a mistake in the input ends it with one line and exit status 2, a run that cannot go on with status 1.

    Args:
        command: a key of ``COMMANDS``; None takes the first word of ``argv``.
        argv: the words after it, by default those of the process.
    """
    argv = sys.argv[1:] if argv is None else argv
    if command is None:
        text = answer(argv)
        if text is not None:
            print(text)
            return
        command, *argv = argv
    try:
        check_choice("command", command, COMMANDS)
        _recorded(importlib.import_module(f"latent_trainer.cli.{command}").run)(argv)
    except ModuleNotFoundError as error:
        if error.name not in EXTRAS:
            raise
        _say(f"{command} needs {error.name}; pip install 'latent_trainer[{EXTRAS[error.name]}]'")
        raise SystemExit(2) from None
    except (InputError, FileNotFoundError, ConnectionError) as error:
        _say(str(error))
        raise SystemExit(2) from None
    except TrainingError as error:
        _say(str(error))
        raise SystemExit(1) from None
    except (OSError, SafetensorError) as error:  # a full disk, a folder without permission: no mistake of the program
        _say(f"{command} stopped: {reason(error)}")
        raise SystemExit(1) from None


def _recorded(run):
    """Return ``run`` such that what it raises stands in the last lines of torch's launcher, where there is one."""
    if ERROR_FILE not in os.environ:
        return run
    # imports torch, which a launched process does anyway
    from torch.distributed.elastic.multiprocessing.errors import record

    return record(run)


def _say(why: str) -> None:
    """Print why a command ends, whatever a value holds in one line, and tell it a launcher, which repeats it at its end."""
    line = f"latent-trainer: {' '.join(why.split())}"
    print(line, file=sys.stderr)
    if ERROR_FILE in os.environ:
        # a second early: the launcher names the first failure, in whole seconds, and other ranks fail because of this one
        failure = {"message": line, "timestamp": str(int(time.time()) - 1)}
        Path(os.environ[ERROR_FILE]).write_text(json.dumps(failure), encoding="utf-8")
