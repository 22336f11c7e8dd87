"""Files that are whole or not there, and places that are checked before anything is computed for them."""

import contextlib
import errno
import json
import os
import zlib
from collections.abc import Iterator
from pathlib import Path

from latent_trainer.errors import InputError

LONGEST = 255  # bytes of a name, on every common file system
LONGEST_PATH = 3800  # bytes; the system takes 4096, and files are written below


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a name beside ``path`` to write to; it takes the place of ``path`` where the block ends well, else it goes.

    So a full disk, or a kill, leaves what was there before. Missing folders are made. The suffix stays, for writers that
    look at it.

    Args:
        path: a file that may be there already.

    Raises:
        OSError: what the system says where it cannot be written.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    name = zlib.crc32(os.fsencode(target.name))  # a name of its own length might be too long
    partial = target.with_name(f".{name:08x}.partial{target.suffix[:20]}")
    try:
        yield partial
        with open(partial, "rb") as file:
            os.fsync(file.fileno())  # some file systems tell only now that they are full
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def write_json(path: str | Path, value, **style) -> None:
    """Write a value as JSON in one piece; see `replacing`.

    Args:
        path: the file.
        value: what is written.
        style: of ``json.dumps``.
    """
    with replacing(path) as partial:
        partial.write_text(json.dumps(value, **style) + "\n", encoding="utf-8")


def read_json(path: Path) -> dict:
    """Return the mapping in a JSON file; an empty one where there is no such file, or it holds something else.

    Raises:
        InputError: it is no JSON.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: malformed JSON in line {error.lineno}; fix or delete the file") from None
    return value if isinstance(value, dict) else {}


@contextlib.contextmanager
def system_errors() -> Iterator[None]:
    """Within the block a full disk is an `OSError` whatever writes: tokenizers 0.23 raises a bare ``Exception`` for it."""
    try:
        yield
    except Exception as error:
        if type(error) is not Exception or "os error" not in str(error):
            raise
        raise OSError(str(error)) from error


def reason(error: Exception) -> str:
    """Return why something could not be written, in one line, whichever library says so."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    name = getattr(error, "filename", None)
    return " ".join(f"{text}{f' ({name})' if name else ''}".split())[:300]


def output_folder(name: str, path: str) -> str:
    """Return a folder that a command is to write, ``~`` written out; nothing is made or changed.

    Args:
        name: the option that names it.
        path: its value.

    Raises:
        InputError: it is empty, too long, a file or a link to nothing, lies below a file, or cannot be written to.
    """
    place = _place(name, path, "folder")
    with _explained(name, path):
        if os.path.lexists(place) and not place.is_dir():
            raise InputError(f"{name}={path!r} is {_kind(place)} and not a folder; name another folder")
        _check_above(name, path, place)
    return str(place)


def output_file(name: str, path: str, beside: tuple[str, ...] = ()) -> str:
    """Return a file that a command is to write, ``~`` written out; nothing is made or changed.

    Args:
        name: the option that names it.
        path: its value.
        beside: suffixes of what is written beside it under the same name.

    Raises:
        InputError: it is empty, too long, a folder or no regular file, lies below a file, or cannot be written to.
    """
    place = _place(name, path, "file", max((len(os.fsencode(one)) for one in beside), default=0))
    with _explained(name, path):
        if place.name in ("", "..") or place.is_dir():
            raise InputError(f"{name}={path!r} is a folder; name a file in it")
        if os.path.lexists(place) and not place.is_file():
            raise InputError(f"{name}={path!r} is {_kind(place)} and not a regular file; name another file")
        if place.suffix in beside:
            raise InputError(f"{name}={path!r} is also the name of a file that is written beside it; give it another suffix")
        _check_above(name, path, place.parent)
    return str(place)


def record_file(name: str, path: str, holds: tuple[str, ...]) -> None:
    """Raise an `InputError` where a JSON file that a command is to write is there and no earlier one of its kind.

    So a model's ``config.json``, a data file or the record of another command is not replaced by accident.

    Args:
        name: the option that names it.
        path: the file.
        holds: names that every file of the kind holds.
    """
    place = Path(path)
    if not place.is_file() or place.stat().st_size == 0:
        return
    try:
        value = json.loads(place.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict) or not set(holds) <= value.keys():
        raise InputError(f"{name}={path!r} exists and holds something else, which would be overwritten; name another file")


def _place(name: str, path: str, kind: str, more: int = 0) -> Path:
    if not path.strip():
        raise InputError(f"{name}={path!r} is empty; name a {kind}")
    if "\0" in path:
        raise InputError(f"{name}={path!r} holds a zero byte; name another {kind}")
    place = Path(os.path.expanduser(path))
    if len(os.fsencode(place)) > LONGEST_PATH:
        raise InputError(f"{name}: {path[:40]!r}... is longer than {LONGEST_PATH} bytes; name a {kind} with a shorter path")
    long = next((part for part in place.parts if len(os.fsencode(part)) > LONGEST), None)
    if long is None and len(os.fsencode(place.stem)) + more > LONGEST:
        long = place.name
    if long is not None:
        raise InputError(f"{name}: the name {long[:40]!r}... is longer than {LONGEST - more} bytes; shorten it")
    return place


def _kind(place: Path) -> str:
    return "a file" if place.is_file() else "a link to nothing" if place.is_symlink() else "a device, pipe or the like"


def _check_above(name: str, path: str, folder: Path) -> None:
    """Check the nearest folder that is there already."""
    while not os.path.lexists(folder):
        folder = folder.parent
    if not folder.is_dir():
        raise InputError(f"{name}={path!r}: {str(folder)!r} is {_kind(folder)} and not a folder; name another place")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(
            f"{name}={path!r}: no permission to write in {str(folder)!r}, or it is read-only; name another place"
        )


@contextlib.contextmanager
def _explained(name: str, path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:  # a loop of links, a folder nobody may look into
        why = "too long" if error.errno == errno.ENAMETOOLONG else error.strerror
        raise InputError(f"{name}={path[:80]!r}: {why}; name another place") from None
