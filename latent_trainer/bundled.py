"""The recipes and launch configurations that come with the library, in a checkout and in an installed wheel alike."""

import sys
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
FOLDERS = ("recipes", "accelerate_configs")


def folder(name: str) -> Path:
    """Return one of ``FOLDERS``: inside the package where a wheel was installed, beside it in a checkout.

    Raises:
        FileNotFoundError: the installation has neither.
    """
    for parent in (PACKAGE, PACKAGE.parent):
        if (parent / name).is_dir():
            return parent / name
    raise FileNotFoundError(f"this installation of latent_trainer lacks its {name}; install it again")


def files() -> dict[str, Path]:
    """Return every bundled YAML file by its name: ``tiny/arithmetic-coconut``, ``accelerate_configs/ddp``."""
    found = {}
    for name in FOLDERS:
        base = folder(name)
        for path in sorted(base.rglob("*.yaml")):
            relative = path.relative_to(base).with_suffix("").as_posix()
            found[relative if name == "recipes" else f"{name}/{relative}"] = path
    return found


def resolve(path: str) -> str:
    """Return the path of a configuration file: as given, or that of the bundled file of this name where nothing is there.

    A line on standard error says when the bundled file is taken, so that nobody trains another recipe than they think.
    """
    first, *rest = Path(path).parts or ("",)
    if first not in FOLDERS or ".." in rest or Path(path).exists():
        return path
    bundled = folder(first).joinpath(*rest)
    if not bundled.is_file():
        return path
    print(f"latent-trainer: no {path} in this folder; reading the one that comes with the library", file=sys.stderr)
    return str(bundled)
