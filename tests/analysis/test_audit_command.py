"""``latent-trainer audit``: record, figures and page; resumed after a kill; one line for what cannot be."""

import json
import signal
import subprocess
import time
from copy import deepcopy
from dataclasses import asdict

import pytest
import torch
from analysis.constructed import constructed, digits
from forked_python import forked_python
from peft import LoraConfig
from transformers import AutoTokenizer

from latent_trainer import LatentForCausalLM
from latent_trainer.analysis.audit.parts import PARTS
from latent_trainer.cli import main
from latent_trainer.model.adapters import add_adapters

ARMS = ("intact", "zero", "noise", "shuffle", "frozen", "removed")
PASSING = ("seconds", "peak_memory_gb", "git_dirty", "date")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with constructed models and their problems."""
    folder = tmp_path_factory.mktemp("audited")
    for kind in ("carries", "pause"):
        model, tokenizer = constructed(kind)
        for place in (folder / kind, folder / "run" / "checkpoint-10" if kind == "carries" else folder / kind):
            model.save_pretrained(place)
            tokenizer.save_pretrained(place)
    problems = "".join(json.dumps(asdict(problem)) + "\n" for problem in digits())
    (folder / "problems.jsonl").write_text(problems)
    return folder


def words(folder, output, kind: str = "carries", **options) -> list[str]:
    """Return the arguments of the command."""
    settings = {"model": folder / kind, "dataset": "jsonl", "dataset_test_path": folder / "problems.jsonl", "output": output}
    settings |= {"batch_size": 30, "most": 30, **options}
    return [
        str(word)
        for name, value in settings.items()
        if value is not None
        for word in (f"--{name}", *(value if isinstance(value, list) else [value]))
    ]


def lasting(path) -> dict:
    """Return a record without what no two runs share."""
    return {name: value for name, value in json.loads(path.read_text()).items() if name not in PASSING}


def test_record_figures_and_page(folder, tmp_path, capsys):
    """One JSON with verdicts and parts, a figure a chart, one page; nothing of this machine in any of them."""
    page = tmp_path / "audit.html"
    main("audit", words(folder, None, report=page, pause_model=folder / "pause"))
    printed = capsys.readouterr().out
    record = json.loads((tmp_path / "audit.json").read_text())
    assert {one["verdict"] for one in record["verdicts"].values()} == {"yes"}
    assert {*PARTS} - {"counterfactual"} <= set(record) and record["problems"] == 90
    assert record["arms"]["free"]["pause"]["accuracy"] > 0.9 > record["arms"]["forced"]["zero"]["accuracy"]
    assert {"versions", "git_commit", "data_hash", "config", "device"} <= set(record)
    assert "dataset 'jsonl' has no oracle" in record["missing"]["counterfactual"]
    assert "not measured: counterfactual: dataset 'jsonl' has no oracle" in printed
    assert "needed given a forced answer"[:16] in printed and "shuffle" in printed
    names = {path.stem for path in (tmp_path / "audit.figures").iterdir()}
    assert {"arms-accuracy", "arms-unchanged", "early", "influence", "steps", "rank", "token", "gold-steps"} <= names
    for text in (page.read_text(), (tmp_path / "audit.json").read_text()):
        assert str(tmp_path) not in text and str(folder) not in text


def test_an_adapter(folder, tmp_path):
    """An adapter on a plain model is audited as the latent model is that it makes of it."""
    model = LatentForCausalLM.from_pretrained(folder / "carries")
    torch.manual_seed(3)
    wrapped = add_adapters(model, LoraConfig(r=2, target_modules=["c_attn"], init_lora_weights=False))
    with torch.no_grad():
        for name, weight in wrapped.named_parameters():
            if "lora_B" in name:
                weight.mul_(0.01)  # it still answers from its last latent
    wrapped.save_pretrained(tmp_path / "adapter")
    merged = deepcopy(wrapped).merge_and_unload()
    merged.save_pretrained(tmp_path / "merged")
    records = []
    for name in ("adapter", "merged"):
        AutoTokenizer.from_pretrained(folder / "carries").save_pretrained(tmp_path / name)
        output = tmp_path / f"{name}.json"
        main("audit", words(folder, output, model=tmp_path / name, parts="reading"))
        records.append(json.loads(output.read_text()))
    right = [[one["arms"][kind][arm]["accuracy"] for kind in ("free", "forced") for arm in ARMS] for one in records]
    assert right[0] == right[1] and records[0]["verdicts"] == records[1]["verdicts"]
    assert {one["verdict"] for one in records[0]["verdicts"].values()} == {"yes"} and "reading" in records[0]


def test_an_oracle_and_checkpoints(folder, tmp_path, capsys, monkeypatch):
    from analysis.constructed import other_digits

    from latent_trainer.cli import audit

    monkeypatch.setitem(audit.VARIANTS, "jsonl", other_digits)
    monkeypatch.setattr(audit, "fault", lambda checkpoint: None)  # saved without a trainer, so without a manifest
    output = tmp_path / "audit.json"
    main("audit", words(folder, output, parts="counterfactual", checkpoints=folder / "run"))
    record = json.loads(output.read_text())
    assert record["counterfactual"]["by_values"]["sufficiency"]["share"] > 0.95
    assert [(row["step"], row["verdicts"]["necessary"]) for row in record["checkpoints"]] == [(10, "yes")]
    assert "steps" not in record


@pytest.fixture(scope="module")
def alone(folder, tmp_path_factory):
    """Return the record of an audit that nobody has killed."""
    output = tmp_path_factory.mktemp("alone") / "audit.json"
    main("audit", words(folder, output, parts="steps"))
    return output


def test_killed_in_the_middle(folder, tmp_path, alone):
    """Killed twice it ends with the record of one that was left alone, and no answer was given twice."""
    killed = tmp_path / "audit.json"

    def lines() -> int:
        return sum(max(0, part.read_bytes().count(b"\n") - 1) for part in tmp_path.rglob("*.jsonl*"))

    argv = words(folder, killed, parts="steps")
    for least in (300, 1100):  # of 2250; the arms alone are 1890
        program = [forked_python(), "-c", "from latent_trainer.cli import main; main()", "audit", *argv]
        with subprocess.Popen(program, stdout=subprocess.DEVNULL) as process:
            until = time.monotonic() + 240
            while lines() < least:
                assert process.poll() is None and time.monotonic() < until
                time.sleep(0.001)
            process.kill()
            assert process.wait() == -signal.SIGKILL and not killed.exists()
    parts = list(tmp_path.rglob("*.part-*"))
    answered = [
        (part.parent.name, part.name.partition(".part")[0], json.loads(line)["id"])
        for part in parts
        for line in part.read_text().splitlines()[1:]
    ]
    assert len(parts) > 2 and len(set(answered)) == len(answered)
    main("audit", argv)
    assert lasting(killed) == lasting(alone)
    assert not list(tmp_path.rglob("*.part-*"))


def test_what_evaluate_and_probe_have_found_is_taken(folder, tmp_path, alone, capsys):
    """Their answers and thoughts are those the audit gives itself; of another model, number or seed they are refused."""
    data = words(folder, None, batch_size=30, most=None)
    evaluated, probed = tmp_path / "evaluated.json", tmp_path / "probed"
    main("evaluate", [*data, "--controls", "zero", "shuffle", "--output", str(evaluated)])
    main("probe", [*data, "--probes", "norms", "--out", str(probed)])
    earlier = {"evaluated": evaluated, "traces": probed / "traces"}
    given = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("latent_trainer.evaluation.journal.Journal.append", lambda *args: given.extend(args[1]))
        main("audit", words(folder, tmp_path / "audit.json", parts="steps", **earlier))
    assert len(given) == 2250 - 3 * 90  # intact, zero and shuffle, freely
    found, expected = lasting(tmp_path / "audit.json"), lasting(alone)
    assert found["verdicts"] == expected["verdicts"] and found["arms"] == expected["arms"]
    capsys.readouterr()
    for changes in ({"kind": "pause"}, {"num_latents": 1}):
        for name, value in earlier.items():
            with pytest.raises(SystemExit):
                main("audit", words(folder, tmp_path / "other.json", **changes, **{name: value}))
            said = capsys.readouterr().err.splitlines()[-1]
            assert f"{name}=" in said and ("model" if "kind" in changes else "num_latents") in said.partition("(other")[2]
    with pytest.raises(SystemExit):
        main("audit", words(folder, tmp_path / "other.json", evaluated=tmp_path / "nothing.json"))
    assert "no answers lie beside it" in capsys.readouterr().err


def test_a_finished_audit_answers_nothing_anew(folder, alone, monkeypatch):
    first = lasting(alone)
    monkeypatch.setattr("latent_trainer.model.modeling.LatentForCausalLM.generate", None)
    main("audit", words(folder, alone, parts="steps"))
    assert lasting(alone) == first


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"parts": ["telepathy"]}, "part='telepathy' is not one of steps, counterfactual, geometry, reading, none"),
        ({"report": "page.txt"}, "suffix of the report='.txt' is not one of .html"),
        ({"checkpoints": "nowhere"}, "checkpoints='nowhere': no such folder"),
        ({"seed": 1}, "other seed"),
        ({"model": "run"}, "cannot load"),
    ],
    ids=str,
)
def test_refusals(folder, tmp_path, alone, capsys, changes, line):
    output = alone if "seed" in changes else tmp_path / "audit.json"
    changes = changes | ({"model": folder / "run"} if "model" in changes else {})
    with pytest.raises(SystemExit) as ended:
        main("audit", words(folder, output, **changes))
    said = capsys.readouterr().err.splitlines()[-1]
    assert ended.value.code == 2 and said.startswith("latent-trainer: ") and line in said


def test_checkpoints_must_be_there(folder, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main("audit", words(folder, tmp_path / "audit.json", parts="none", checkpoints=folder))
    assert "holds no whole checkpoint" in capsys.readouterr().err
