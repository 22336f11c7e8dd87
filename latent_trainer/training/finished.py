"""The finished model of a run and the files beside it: whole or not there, whatever happens while they are written."""

import shutil
from pathlib import Path

from safetensors import SafetensorError

from latent_trainer.compat import TRAINER_STATE_NAME
from latent_trainer.errors import TrainingError
from latent_trainer.whole_files import read_json, reason, replacing, system_errors, write_json

SAVING = ".saving"  # a folder in the one a model is saved to, where it is written before it gets its name
WRITE_ERRORS = (OSError, SafetensorError, RuntimeError)  # what the writers raise, a full disk for one
LAST = ("adapter_config.json", "config.json")  # without these nobody takes a folder for a model
SHARDS = ("model-?????-of-?????.safetensors", "model.safetensors", "model.safetensors.index.json")


class WholeResults:
    """How a `Trainer` saves what stays when it has ended: beside its place first, and into it once everything is written.

    Comes before `Trainer`.
    """

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        """Save the model, the tokenizer and their settings, all of them or none.

        Raises:
            TrainingError: they could not be written; what was in the folder is as it was.
        """
        folder = Path(output_dir or self.args.output_dir)
        staging = folder / SAVING
        try:
            if self.args.should_save:
                shutil.rmtree(staging, ignore_errors=True)  # what a killed run has left
                staging.mkdir(parents=True)
            with system_errors():
                super()._save(str(staging), state_dict)
            if self.args.should_save:
                _move(staging, folder)
        except WRITE_ERRORS as error:
            raise TrainingError(
                f"cannot save the model in {folder}: {reason(error)}; nothing was left there; free some space or name "
                "another folder and save it again"
            ) from error
        finally:
            if self.args.should_save:
                shutil.rmtree(staging, ignore_errors=True)

    def save_state(self) -> None:
        """Write the trainer's state in one piece.

        Raises:
            TrainingError: it could not be written.
        """
        if self.is_world_process_zero():
            self._write(TRAINER_STATE_NAME, lambda partial: self.state.save_to_json(str(partial)))

    def save_metrics(self, split: str, metrics: dict[str, float], combined: bool = True) -> None:
        """Write metrics as the stock method does, every file in one piece.

        Args:
            split: first part of the file's name.
            metrics: what was measured.
            combined: add them to ``all_results.json`` too.

        Raises:
            TrainingError: they could not be written.
        """
        if not self.is_world_process_zero():
            return
        files = {f"{split}_results.json": metrics}
        if combined:
            files["all_results.json"] = {**read_json(Path(self.args.output_dir) / "all_results.json"), **metrics}
        for name, values in files.items():
            self._write(name, lambda partial, values=values: write_json(partial, values, indent=4, sort_keys=True))

    def _write(self, name: str, write) -> None:
        path = Path(self.args.output_dir) / name
        try:
            with replacing(path) as partial:
                write(partial)
        except OSError as error:
            raise TrainingError(f"cannot write {path}: {reason(error)}; free some space and run it again") from error


def _move(staging: Path, folder: Path) -> None:
    """Move what was saved to where it belongs, the configuration last, and take shards of an earlier save away."""
    files = sorted(staging.iterdir(), key=lambda path: (path.name in LAST, path.name))
    names = {path.name for path in files}
    for path in files:
        if path.is_dir():  # further adapters of a model with several
            shutil.rmtree(folder / path.name, ignore_errors=True)
        path.replace(folder / path.name)
    if names & {"model.safetensors", "model.safetensors.index.json"}:
        for path in [one for pattern in SHARDS for one in folder.glob(pattern) if one.name not in names]:
            path.unlink()
