"""The wheel works in an empty environment, recipes included, and the source distribution is the whole project."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from latent_trainer import bundled
from latent_trainer.version import __version__

ROOT = Path(__file__).resolve().parents[1]
LEFT = (".git", ".venv", ".venvs", "runs", "out", "models", "build", "dist", "site", "*.egg-info", "*_cache", "__pycache__")
PARTS = ("latent_trainer", "recipes", "accelerate_configs", "benchmarks", "docs", "results", "tests", ".github")
HOOKS = "import sys; from setuptools.build_meta import build_sdist, build_wheel; {}(sys.argv[1])"


def build(hook: str, source: Path, target: Path) -> Path:
    """Return what a hook of the build system makes of a source folder, as pip calls it."""
    target.mkdir(exist_ok=True)
    program = [sys.executable, "-c", HOOKS.format(hook), str(target)]
    done = subprocess.run(program, cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (built,) = target.iterdir()
    return built


@pytest.fixture(scope="module")
def sdist(tmp_path_factory):
    """Return the source distribution of this checkout."""
    copy = tmp_path_factory.mktemp("checkout") / "copy"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(*LEFT))
    return build("build_sdist", copy, copy.parent / "sdist")


@pytest.fixture(scope="module")
def wheel(sdist, tmp_path_factory):
    """Return the wheel that is built from the source distribution."""
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    (source,) = folder.iterdir()
    return build("build_wheel", source, folder / "wheel")


@pytest.fixture(scope="module")
def command(wheel, tmp_path_factory):
    """Return the command of the wheel in an environment of its own, which sees the packages it needs and no checkout."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False, symlinks=True)
    site = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
    words = ["install", "--quiet", "--no-deps", "--no-index", "--target", str(site), str(wheel)]
    subprocess.run([sys.executable, "-m", "pip", *words], check=True)
    needed = site / "needed"  # the running environment's packages, without the editable install of this project
    needed.mkdir()
    for package in Path(sysconfig.get_path("purelib")).iterdir():
        if "latent_trainer" not in package.name and package.suffix != ".pth":
            (needed / package.name).symlink_to(package)
    (site / "needed.pth").write_text(f"{needed}\n")
    program = "import sys; from latent_trainer_command import main; sys.exit(main())"

    def run(*words, folder=None):
        kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        python = site.parents[2] / "bin" / "python"
        return subprocess.run(
            [python, "-c", program, *map(str, words)], cwd=folder, env=kept, capture_output=True, text=True, check=False
        )

    return run


def test_the_source_distribution_is_complete(sdist):
    with tarfile.open(sdist) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.splitlines()
    on_disk = {
        path.relative_to(ROOT).as_posix()
        for part in PARTS
        for path in (ROOT / part).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    wanted = {name for name in tracked if (ROOT / name).exists() and not name.startswith(".ci/")} or on_disk
    assert len(wanted) > 300 and wanted - held == set()


def test_the_wheel_holds_the_library_and_its_recipes_only(wheel):
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
    files = {path.relative_to(ROOT).as_posix() for path in bundled.files().values()}
    assert {f"latent_trainer/{name}" for name in files} <= held
    assert {"latent_trainer/py.typed", "latent_trainer/hub/card.md.jinja", "latent_trainer_command.py"} <= held
    assert {name.split("/")[0] for name in held} == {
        "latent_trainer",
        "latent_trainer_command.py",
        f"latent_trainer-{__version__}.dist-info",
    }
    library = {path.relative_to(ROOT).as_posix() for path in (ROOT / "latent_trainer").rglob("*.py")}
    assert {name for name in held if name.endswith(".py")} == library | {"latent_trainer_command.py"}


def test_the_command_runs_where_only_the_wheel_is(command, tmp_path):
    assert command("--version", folder=tmp_path).stdout == f"latent-trainer {__version__}\n"
    listed = command("recipes", "list", folder=tmp_path)
    assert [line.split()[0] for line in listed.stdout.splitlines()] == list(bundled.files()), listed.stderr


@pytest.mark.distributed
def test_a_recipe_trains_where_only_the_wheel_is(command, tmp_path):
    copied = command("recipes", "copy", "tiny/arithmetic-coconut", folder=tmp_path)
    assert copied.returncode == 0, copied.stderr
    short = ["--max_steps", 2, "--last_stage", 0, "--max_train_problems", 64, "--max_eval_problems", 8]
    trained = command("train", "--config", "arithmetic-coconut.yaml", "--output_dir", "out", *short, folder=tmp_path)
    assert trained.returncode == 0, trained.stderr
    assert (tmp_path / "out" / "model.safetensors").is_file()
