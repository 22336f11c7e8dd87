"""Data sets in a folder: what `datasets` saves with ``save_to_disk``, and files named by their split as on the Hub."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

from latent_trainer.data.files import OPENERS, SUFFIXES, Place, Row, read, table_rows
from latent_trainer.errors import InputError

SPLIT_NAMES = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing"),
}
SPLIT_OF = {name: split for split, names in SPLIT_NAMES.items() for name in names}
NAMED = re.compile(rf"(?:^|[^a-z])({'|'.join(SPLIT_OF)})(?:$|[^a-z])")
META = ("dataset_infos.json", "dataset_info.json", "state.json")


def parts(path: str) -> dict[str, Callable[[], Iterator[Row]]]:
    """Return what yields the rows of each split of a folder; the key is "" where the folder has no splits.

    Raises:
        InputError: the folder holds no data set, or several.
    """
    folder = Path(path)
    if (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file():
        return _saved(path)
    files = sorted(
        file
        for file in folder.rglob("*")
        if file.is_file()
        and file.name not in META
        and not any(one.startswith(".") for one in file.relative_to(folder).parts)
        and (Path(file.stem).suffix if file.suffix in OPENERS else file.suffix) in SUFFIXES
    )
    found = defaultdict(list)
    for file in files:
        found[_split(file.relative_to(folder))].append(file)
    if not files:
        raise InputError(f"{path}: a folder without data; expected files {', '.join(SUFFIXES)}, or one of save_to_disk")
    if "" in found and (len(found) > 1 or len(files) > 1):
        raise InputError(
            f"{path}: a folder in which no split is named for {found[''][0].relative_to(folder)}; "
            "name files train, validation and test, or give one file"
        )
    for split, own in found.items():
        _refuse_several(path, split, own)
    return {split: _reader(folder, own) for split, own in found.items()}


def _split(file: Path) -> str:
    """Return the split a file's name tells, else the folder's it lies in; "" where none does."""
    for part in reversed(file.parts):
        names = NAMED.findall(part.lower())
        if names:
            return SPLIT_OF[names[0]]
    return ""


def _refuse_several(path: str, split: str, files: list[Path]) -> None:
    """Refuse configurations side by side, as in main/train.parquet and socratic/train.parquet."""
    folders = sorted({str(file.parent.relative_to(path)) for file in files if NAMED.search(file.name.lower())})
    if len(folders) > 1:
        raise InputError(f"{path}: several data sets have a {split} split ({', '.join(folders[:3])}); give one folder")


def _reader(folder: Path, files: list[Path]) -> Callable[[], Iterator[Row]]:
    def rows():
        for file in files:
            yield from read(str(file), name=str(file.relative_to(folder)), lone=True)

    return rows


def _saved(path: str) -> dict[str, Callable[[], Iterator[Row]]]:
    from datasets import DatasetDict, load_from_disk

    try:
        saved = load_from_disk(path)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{path}: a data set that cannot be read ({str(error).splitlines()[0]}); save it again") from None
    if not isinstance(saved, DatasetDict):
        return {"": lambda: dataset_rows(saved, path)}
    unknown = [name for name in saved if name.lower() not in SPLIT_OF]
    if unknown:
        raise InputError(
            f"{path}: split '{unknown[0]}' is none of {', '.join(SPLIT_OF)}; give the folder {path}/{unknown[0]}"
        )
    return {
        SPLIT_OF[name.lower()]: (lambda name=name: dataset_rows(saved[name], f"{path.rstrip('/')}/{name}")) for name in saved
    }


def dataset_rows(dataset, source: str, first: int = 1, kind: str = "") -> Iterator[Row]:
    """Yield the rows of a `datasets.Dataset`, as they are stored and not as a format shows them; labels by their names.

    Args:
        dataset: the rows.
        source: what their places name.
        first: number of the first row.
        kind: see `Place`.
    """
    from datasets import ClassLabel

    labels = {name: kind for name, kind in dataset.features.items() if isinstance(kind, ClassLabel)}
    number = first
    for table in dataset.with_format("arrow").iter(1000):
        for row in table_rows(table):
            for name, kind in labels.items():
                row[name] = None if row[name] is None or row[name] < 0 else kind.int2str(row[name])
            yield row, Place(source, number, kind)
            number += 1
