"""Write a trained model into a folder that needs transformers alone: what a push sends, on this machine."""

import shutil
import tempfile
from pathlib import Path

from safetensors import SafetensorError

from latent_trainer.errors import InputError
from latent_trainer.hub.folder import published, refuse_leaks
from latent_trainer.whole_files import output_folder, reason, system_errors


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
    to = Path(output_folder("to", str(to)))
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise InputError(f"{to} exists and is not an empty folder; name another, or delete it")
    made = next((place for place in reversed([to.parent, *to.parent.parents]) if not place.exists()), None)
    to.parent.mkdir(parents=True, exist_ok=True)
    try:
        with system_errors(), tempfile.TemporaryDirectory(dir=to.parent, prefix=".export.") as beside:
            _write(Path(folder), to, merge, Path(beside))
    except (OSError, SafetensorError) as error:
        raise InputError(f"cannot export to {to}: {reason(error)}; nothing of it was left there") from error
    finally:
        if made is not None and not to.exists():
            shutil.rmtree(made, ignore_errors=True)
    return to


def _write(folder: Path, to: Path, merge: bool, beside: Path) -> None:
    """Write what is published into a folder beside its place and move it there."""
    scratch, whole = beside / "scratch", beside / "whole"
    scratch.mkdir()
    files = published(folder, merge, scratch).files
    refuse_leaks(files, folder)
    for name, content in files.items():
        path = whole / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            shutil.copyfile(content, path)
    whole.rename(to)
