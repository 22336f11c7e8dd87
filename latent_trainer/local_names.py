"""Names of files and folders of this machine: told from names on the Hub, and shortened before anything is published."""

import os
import re
from pathlib import Path, PureWindowsPath

HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?(:[\w./-]+\.gguf)?", re.IGNORECASE)  # a GGUF file in a repository, too
ROOTED = re.compile(r"[A-Za-z]:[\\/]|\\\\|~|\.{1,2}([\\/]|$)|file:")  # of a path and never of a name on the Hub
SNAPSHOT = re.compile(r"models--([^/\\]+?)--([^/\\]+)[/\\]snapshots[/\\]")  # where huggingface_hub keeps a repository
MODELS, HERE = ("model", "pause_model", "base"), ("output", "out", "traces", "runs", "folder")
PLACES = (*MODELS, *HERE)  # settings that name a place; those of the second kind never name one on the Hub
HERE_ENDINGS = ("_dir", "_file", "_folder")
ENDINGS = ("_path", *HERE_ENDINGS)
FILES = re.compile(r"[^:]*\.(json|jsonl|ndjson|parquet|csv|tsv|txt|gz|bz2|xz|gguf)", re.IGNORECASE)  # and no repository
TEXTS = ("template", "stop_strings")  # what a model reads and writes, which may begin as a path does
NEAR = 4  # folders above a run in which a relative name is looked for, for a command may start in any of them


def hub_id(name: str) -> str | None:
    """Return the Hub's name of a model that lies in the cache of `huggingface_hub`, None for any other name."""
    found = SNAPSHOT.search(name)
    if found is None:
        return None
    file = re.split(r"[/\\]", name[found.end() :], maxsplit=1)[1:]  # behind the revision
    return f"{found[1]}/{found[2]}" + (f":{file[0]}" if file and file[0].lower().endswith(".gguf") else "")


def repository(name: str) -> str:
    """Return the repository of a Hub name, which may name a GGUF file in it: "me/base" of "me/base:tiny.gguf"."""
    return name.partition(":")[0]


def is_local(name: str, near: Path | None = None) -> bool:
    """Return whether a name is a file or folder of this machine rather than a name on the Hub.

    Args:
        name: as somebody gave it, perhaps in another folder than this process runs in.
        near: a folder; one that lies beside it or beside a folder above it is local too.
    """
    if not name.strip() or "\n" in name or "\0" in name:
        return False
    if os.path.isabs(name) or ROOTED.match(name):
        return True
    return any(os.path.exists(place / name) for place in [Path(), *(near.absolute().parents[:NEAR] if near else ())])


def names_hub(name: str, near: Path | None = None) -> bool:
    """Return whether a name can be that of a model on the Hub: in its form, and nothing on this machine."""
    return HUB_ID.fullmatch(name) is not None and not is_local(name, near)


def without_folders(value, near: Path | None = None, setting: str = ""):
    """Return settings in which files and folders of this machine keep only their own name.

    A model in the cache of `huggingface_hub` becomes its name on the Hub. Where ``near`` is given, its own name, which a
    person gave on this machine, becomes "model" in settings that name a place. Texts that a model reads or writes stay.

    Args:
        value: settings, nested or not.
        near: the folder that is published, if any.
        setting: what the value is the value of.
    """
    if setting in TEXTS:
        return value
    if isinstance(value, dict):
        return {name: without_folders(one, near, str(name)) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [without_folders(one, near, setting) for one in value]
    if not isinstance(value, str) or "\n" in value:
        return value
    if hub_id(value):
        return hub_id(value)
    place = setting in PLACES or setting.endswith(ENDINGS)
    apart = "/" in value or "\\" in value or value.startswith("~")
    here = setting in HERE or setting.endswith(HERE_ENDINGS) or (place and FILES.fullmatch(value))
    if apart and (here or is_local(value, near) or (place and not HUB_ID.fullmatch(value))):
        value = PureWindowsPath(value).name  # both separators
    if place and near and Path(value).stem == near.absolute().name:
        return f"model{Path(value).suffix}"
    return value
