"""Checkpoints that are whole or not there: written under another name, renamed when complete, checked before use."""

import json
import logging
import os
import shutil
import zlib
from pathlib import Path

from latent_trainer.compat import PREFIX_CHECKPOINT_DIR
from latent_trainer.errors import InputError
from latent_trainer.model.loading import pickled_weights
from latent_trainer.options import truth
from latent_trainer.whole_files import reason

MANIFEST = "manifest.json"
UNFINISHED = ".unfinished"  # a folder beside the checkpoints, where the next one is written
BLOCK = 1 << 24
LATEST = "latest"

logger = logging.getLogger(__name__)


def write_manifest(folder: Path, data_hash: str) -> None:
    """Write down the files of a checkpoint with their sizes and checksums, and the data it was trained on; comes last."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
    listed = {str(path.relative_to(folder)): [path.stat().st_size, _checksum(path)] for path in files}
    manifest = {"data_hash": data_hash, "files": listed}
    manifest["checksum"] = _own_checksum(manifest)
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")


def _own_checksum(manifest: dict) -> int:
    """Return the CRC-32 of what a manifest says, which a single flipped bit always changes."""
    content = {name: value for name, value in manifest.items() if name != "checksum"}
    return zlib.crc32(json.dumps(content, sort_keys=True).encode())


def read_manifest(folder: Path) -> dict:
    """Return a checkpoint's manifest.

    Raises:
        FileNotFoundError: it has none.
        ValueError: it is damaged. One without a checksum of its own, as earlier releases wrote, must be in their form.
    """
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    if not isinstance(manifest, dict):
        raise ValueError("no mapping")
    if "checksum" in manifest:
        if manifest["checksum"] != _own_checksum(manifest):
            raise ValueError("its checksum does not match")
    elif manifest.keys() != {"data_hash", "files"}:  # of any other, a flipped bit has hidden the checksum
        raise ValueError("no checksum")
    if not isinstance(manifest.get("data_hash"), str) or not isinstance(manifest.get("files"), dict):
        raise ValueError("fields are missing")
    for name, facts in manifest["files"].items():
        if not (isinstance(facts, list) and [type(fact) for fact in facts] == [int, int]) or "\0" in name:
            raise ValueError(f"what it says of {name!r}")
    return manifest


def _checksum(path: Path) -> int:
    """Return the CRC-32 of a file: quick, and meant against accidents, not against attackers."""
    checksum = 0
    with open(path, "rb") as file:
        while block := file.read(BLOCK):
            checksum = zlib.crc32(block, checksum)
    return checksum


def fault(folder: Path) -> str | None:
    """Return what is wrong with a checkpoint in a few words, None where nothing is."""
    try:
        return _fault_of_files(folder, read_manifest(folder)["files"])
    except FileNotFoundError:
        return f"it has no {MANIFEST}, which is written last"
    except (ValueError, RecursionError):
        return f"its {MANIFEST} is damaged"
    except OSError as error:
        return f"it cannot be read: {reason(error)}"


def _fault_of_files(folder: Path, listed: dict[str, list[int]]) -> str | None:
    for name, (size, checksum) in listed.items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != size:
            return f"{name} has {path.stat().st_size} bytes instead of {size}"
        if _checksum(path) != checksum:
            return f"the content of {name} has changed"
    return None


def checkpoints(output_dir: str | Path) -> list[Path]:
    """Return the checkpoint folders of a run, oldest first, whole or not."""
    folders = [
        path for path in Path(output_dir).glob(f"{PREFIX_CHECKPOINT_DIR}-*") if path.name.rpartition("-")[2].isdigit()
    ]
    return sorted(folders, key=lambda path: int(path.name.rpartition("-")[2]))


def last_checkpoint(output_dir: str | Path) -> str | None:
    """Return the newest whole checkpoint of a run, None where there is none; damaged ones are skipped with a warning."""
    for folder in reversed(checkpoints(output_dir)):
        reason = fault(folder)
        if reason is None:
            return str(folder)
        logger.warning("skipping %s: %s", folder.name, reason)
    return None


def resumption(value: str | bool | os.PathLike | None) -> str | None:
    """Return what a setting resumes: ``LATEST``, a folder, or None for nothing.

    Args:
        value: True, a word for it or "latest"; False, a word for it or None; or a checkpoint folder.

    Raises:
        InputError: something else.
    """
    value = os.fspath(value) if isinstance(value, os.PathLike) else value
    word = truth(value) if isinstance(value, str) else value
    if (word is None and value is None) or word is False:
        return None
    if word is True or value == LATEST:
        return LATEST
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"resume_from_checkpoint={value!r}: expected true, false, latest or a checkpoint folder")
    return value


def resumed_checkpoint(output_dir: str, value: str | bool | None) -> str | None:
    """Return the checkpoint a setting resumes from, None where there is none (see `resumption`).

    Raises:
        InputError: a folder somebody has named is not there or damaged, or weights are a pickle.
    """
    wanted = resumption(value)
    found = last_checkpoint(output_dir) if wanted == LATEST else wanted and whole_checkpoint(wanted)
    pickled = found and pickled_weights(found)
    if pickled:
        raise InputError(f"checkpoint {found} holds weights in a pickle ({pickled}), which is never opened; delete it")
    return found


def whole_checkpoint(folder: str) -> str:
    """Return a checkpoint somebody has named; an `InputError` where it is damaged or not there."""
    if not Path(folder).is_dir():
        raise InputError(f"resume_from_checkpoint={folder}: no such folder; give true, false, latest or a checkpoint folder")
    inside = checkpoints(folder)
    if inside:
        raise InputError(
            f"resume_from_checkpoint={folder} contains checkpoints but is not one itself; name one, such as {inside[-1]}"
        )
    reason = fault(Path(folder))
    if reason is not None:
        raise InputError(
            f"checkpoint {folder} is damaged: {reason}; resume_from_checkpoint=True takes the newest undamaged one"
        )
    return folder


def check_data(folder: str, data_hash: str) -> None:
    """Raise an `InputError` where a whole checkpoint was trained on other problems."""
    before = read_manifest(Path(folder))["data_hash"]
    if before != data_hash:
        raise InputError(
            f"the training problems have changed since {Path(folder).name} was saved: data hash {before[:16]} then, "
            f"{data_hash[:16]} now; restore them or start a new run in another output_dir"
        )


def last_good(output_dir: str | Path) -> str:
    """Say where a run that has ended can go on."""
    folder = last_checkpoint(output_dir)
    return f"the last good checkpoint is {folder}" if folder else "there is no checkpoint yet"


def refuse_other_run(output_dir: str, resume_from_checkpoint) -> None:
    """Raise an `InputError` where ``output_dir`` holds the checkpoints or the model of a run that is not being resumed."""
    if resumption(resume_from_checkpoint) or not Path(output_dir).is_dir():
        return
    names = [path.name for path in Path(output_dir).iterdir()]
    existing = [name for name in names if name.startswith(f"{PREFIX_CHECKPOINT_DIR}-") or name.endswith(".safetensors")]
    if existing:
        raise InputError(
            f"output_dir={output_dir} already holds another run ({sorted(existing)[-1]}); "
            "resume it with resume_from_checkpoint=True or choose another folder"
        )


def rotate(run_dir: Path, limit: int | None, kept: set[str]) -> None:
    """Delete checkpoints of the earliest steps until ``limit`` are left; a clock that was set back changes nothing.

    Args:
        run_dir: holds the checkpoints.
        limit: ``save_total_limit``; None or 0 deletes none.
        kept: names that stay in any case: the one just saved and the best.
    """
    found = checkpoints(run_dir)
    surplus = len(found) - limit if limit else 0
    old = [folder for folder in found if folder.name not in kept]
    for folder in old[: max(0, surplus)]:
        shutil.rmtree(folder, ignore_errors=True)
