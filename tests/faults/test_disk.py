"""Full and read-only disks: what is saved is whole or not there, what was whole stays, and one line says why."""

import json
import re
import shutil
from pathlib import Path

import pytest
from disks import contents, fill, read_only, small_disk
from peft import LoraConfig
from training import make_trainer, uneven_problems
from transformers import TrainerCallback

from latent_trainer import LatentForCausalLM
from latent_trainer.cli import main
from latent_trainer.data.export import export
from latent_trainer.errors import InputError, TrainingError
from latent_trainer.evaluation.generation import Answer
from latent_trainer.evaluation.journal import Journal
from latent_trainer.evaluation.record import write_record
from latent_trainer.hub import export_folder
from latent_trainer.hub.settings import write_settings
from latent_trainer.sweep.job import write_outcome
from latent_trainer.training.saving import locked

SHORT = {"max_steps": 2}


@pytest.fixture
def disk(tmp_path):
    """Return a folder of eight megabytes."""
    with small_disk(tmp_path / "disk") as folder:
        yield folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Return a trainer that has finished."""
    trainer = make_trainer(tmp_path_factory.mktemp("trained") / "run", **SHORT)
    trainer.train()
    trainer.save_model()
    return trainer


@pytest.mark.parametrize("kind", ["model", "adapter"])
def test_the_final_model(disk, kind):
    """A full disk leaves no half-written model, and a whole one as it was; with room it is saved."""
    more = {"peft_config": LoraConfig(r=64)} if kind == "adapter" else {}
    trainer = make_trainer(disk / "run", **SHORT, **more)
    filler = fill(disk)
    with pytest.raises(TrainingError, match=r"cannot save the model in .*run: .*nothing was left"):
        trainer.save_model()
    assert not contents(disk / "run")
    filler.unlink()
    trainer.save_model()
    before = contents(disk / "run")
    weights = "adapter_model.safetensors" if kind == "adapter" else "model.safetensors"
    assert {weights, "config.json", "tokenizer.json", "training_arguments.json", "generation_config.json"} <= set(before)
    fill(disk)
    with pytest.raises(TrainingError, match="cannot save the model"):
        trainer.save_model()
    assert contents(disk / "run") == before


def test_a_model_saved_over_shards(tmp_path, trained):
    """No shard of an earlier save stays beside the new weights."""
    trained.model.save_pretrained(tmp_path, max_shard_size="20KB")
    assert (tmp_path / "model.safetensors.index.json").is_file()
    trained.save_model(str(tmp_path))
    assert [path.name for path in tmp_path.glob("model*")] == ["model.safetensors"]
    LatentForCausalLM.from_pretrained(tmp_path)


def test_state_and_metrics(disk, trained, monkeypatch):
    monkeypatch.setattr(trained.args, "output_dir", str(disk))
    trained.save_metrics("train", {"a": 1.0})
    trained.save_metrics("eval", {"b": 2.0})
    trained.save_state()
    assert json.loads((disk / "all_results.json").read_text()) == {"a": 1.0, "b": 2.0}
    before = contents(disk)
    filler = fill(disk, left=0)
    for write in (trained.save_state, lambda: trained.save_metrics("train", {"a": 2.0})):
        with pytest.raises(TrainingError, match=r"cannot write .*No space left on device.*free some space"):
            write()
    filler.unlink()
    assert contents(disk) == before


WRITERS = {
    "record": lambda folder: write_record(str(folder / "record.json"), {"accuracy": 1.0}, {}),
    "settings": lambda folder: write_settings({"a": 1}, folder / "settings.json"),
    "outcome": lambda folder: write_outcome(folder, {"state": "complete"}),
    "json": lambda folder: export(uneven_problems(9), str(folder / "problems.json")),
    "jsonl": lambda folder: export(uneven_problems(9), str(folder / "problems.jsonl")),
    "parquet": lambda folder: export(uneven_problems(9), str(folder / "problems.parquet")),
}


def test_other_files(disk):
    for write in WRITERS.values():
        write(disk)
    before = contents(disk)
    assert len(before) == len(WRITERS)
    filler = fill(disk, left=0)
    for name, write in WRITERS.items():
        with pytest.raises(OSError, match="No space left on device"):
            write(disk)
        assert {path.name for path in disk.iterdir()} == {*before, "filler"}, name
    filler.unlink()
    assert contents(disk) == before


def test_the_command_names_the_file(disk, capsys):
    fill(disk, left=0)
    with pytest.raises(SystemExit):
        main("data", ["export", "--dataset", "arithmetic", "--size", "9", "--output", str(disk / "x.jsonl")])
    assert re.search(r"cannot write output='.*x\.jsonl': No space left", capsys.readouterr().err)


def test_a_journal_goes_on(disk):
    """Answers that were written before the disk was full are there again when there is room."""
    facts = {"correct": True, "correct_flexible": True, "tokens_written": 1, "latents": 0, "passes": 1}
    facts |= {"strict": "1", "flexible": "1", "prefill_seconds": 0.0, "decode_seconds": 0.0}
    some = [Answer(id=str(number), sample=0, reference="1", text="1" * 500, **facts) for number in range(3)]
    journal = Journal(disk / "a.jsonl", {"model": "m"})
    journal.append(some[:1])
    filler = fill(disk, left=0)
    with pytest.raises(TrainingError, match=r"cannot write answers to .*No space left.*run it again to resume"):
        for _ in range(99):  # the last page of the file has room yet
            journal.append(some[1:])
    filler.unlink()
    assert Journal(disk / "a.jsonl", {"model": "m"}).answers["0", 0] == some[0]


class Full(TrainerCallback):
    """Fill the disk when the first step has been logged."""

    def __init__(self, disk: Path):
        self.disk = disk

    def on_step_end(self, args, state, control, **kwargs):
        """Fill it."""
        if state.global_step == 1:
            fill(self.disk, left=0)


def test_an_export(disk, trained):
    fill(disk)
    source = Path(trained.args.output_dir)
    before = contents(source)
    with pytest.raises(InputError, match=r"cannot export to .*No space left on device.*nothing of it was left"):
        export_folder(source, disk / "new" / "to")
    assert [path.name for path in disk.iterdir()] == ["filler"] and contents(source) == before


def test_a_read_only_disk(disk, trained, capsys):
    """Every command says so before it computes anything."""
    read_only(disk)
    commands = {
        "train": ["--output_dir", f"{disk}/run", "--dataset", "arithmetic"],
        "evaluate": ["--model", "none", "--output", f"{disk}/record.json"],
        "sweep": ["--base", "setup.cfg", "--axes", '{"num_latents": [1]}', "--output_dir", f"{disk}/sweep"],
        "demo": ["--runs", f"{disk}/runs"],
        "data": ["export", "--dataset", "arithmetic", "--output", f"{disk}/a.json"],
        "export": [str(trained.args.output_dir), "--to", f"{disk}/to"],
        "probe": ["--model", "none", "--out", f"{disk}/out"],
    }
    for command, words in commands.items():
        with pytest.raises(SystemExit) as ended:
            main(command, words)
        said = capsys.readouterr().err
        assert ended.value.code == 2 and said.count("\n") == 1 and "read-only" in said, said
    with pytest.raises(InputError, match="read-only"):
        make_trainer(disk / "run", **SHORT)
    with pytest.raises(TrainingError, match="cannot save the model"):
        trained.save_model(str(disk / "run"))


def test_tensorboard(disk):
    trainer = make_trainer(
        disk / "run", callbacks=[Full(disk)], max_steps=60, report_to="tensorboard", logging_steps=1, logging_first_step=True
    )
    with pytest.raises(TrainingError, match=r"cannot write in .*No space left on device.*no checkpoint yet"):
        trainer.train()


def test_a_full_disk_ends_a_run_in_one_line(disk):
    """Whatever writes while it trains."""
    with (
        pytest.raises(TrainingError, match=r"cannot write in .*No space left on device.*no checkpoint yet"),
        locked(disk, True),
    ):
        fill(disk, left=0)
        shutil.copy(__file__, disk / "copy")
