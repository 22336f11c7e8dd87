"""Problems from files whose form is recognised from the first row."""

from latent_trainer.data.forms import FORMS, recognise, rename
from latent_trainer.data.problem import Problem
from latent_trainer.data.sources import SOURCES
from latent_trainer.data.splits import open_path
from latent_trainer.errors import InputError


def load(
    split: str,
    path: str | None = None,
    seed: int = 0,
    validation_path: str | None = None,
    test_path: str | None = None,
    columns: dict[str, str] | None = None,
) -> list[Problem]:
    """Read problems with the data set whose rows the first file has.

    Args:
        split: train, validation or test.
        path: train rows of any form.
        seed: decides what is held out for validation.
        validation_path, test_path: files of these splits, in the same form.
        columns: field -> column, for files with other names.

    Raises:
        InputError: no file, rows of no known form, or what their data set refuses.
        FileNotFoundError: a file does not exist.
    """
    files = [file for file in (path, validation_path, test_path) if file is not None]
    if not files:
        raise InputError("dataset 'auto' needs a file; give dataset_path")
    name = recognise_file(str(files[0]), columns)
    options = {} if name == "textbook" else {"columns": columns}
    return SOURCES[name].load(split, path, seed, validation_path=validation_path, test_path=test_path, **options)


def recognise_file(path: str, columns: dict[str, str] | None = None) -> str:
    """Return the data set that reads a file, told from its first row that can be read.

    Raises:
        InputError: no row, or none of a known form.
    """
    first = None
    for rows in open_path(path).values():
        for row, place in rows():
            if isinstance(row, InputError):
                first = first or row
                continue
            name = recognise(rename(row, columns, "jsonl", place) if columns else row)
            if name is None:
                raise InputError(f"{place}: rows of {', '.join(map(str, row))} are of no known form; {_known()}")
            return name
    raise first or InputError(f"{path} is empty; give it at least one problem")


def _known() -> str:
    return (
        "known are "
        + "; ".join(f"{name} ({', '.join(form.needs)})" for name, form in FORMS.items() if not form.by_name)
        + "; or give columns"
    )
