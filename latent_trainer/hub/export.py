"""Write a trained model into a folder that needs transformers alone: what a push sends, on this machine."""

import shutil
import tempfile
from pathlib import Path

from latent_trainer.errors import InputError
from latent_trainer.hub.folder import published


def export_folder(folder: str | Path, to: str | Path, *, merge: bool = False) -> Path:
    """Write what `push_folder` would push, all but the model card, into a folder, and return it.

    The folder appears when everything is in it. It loads with ``AutoModelForCausalLM.from_pretrained(to,
    trust_remote_code=True)`` where this library is not installed.

    Args:
        folder: what `LatentTrainer.save_model` wrote.
        to: a folder that is not there yet, or is empty.
        merge: write an adapter merged into the model it was trained on.

    Raises:
        InputError: a folder that cannot be published, or ``to`` holds something already.
    """
    to = Path(to)
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise InputError(f"{to} exists and is not an empty folder; name another, or take it away")
    to.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=to.parent, prefix=f".{to.name}.") as beside:
        scratch, whole = Path(beside) / "scratch", Path(beside) / "whole"
        scratch.mkdir()
        for name, content in published(Path(folder), merge, scratch).files.items():
            path = whole / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, bytes):
                path.write_bytes(content)
            else:
                shutil.copyfile(content, path)
        whole.rename(to)
    return to
