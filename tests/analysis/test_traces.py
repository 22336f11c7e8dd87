"""Traces: collected once, in bounded memory, going on where they were stopped."""

import json
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import make_base
from forked_python import forked_python
from training import make_tokenizer, uneven_problems

from latent_trainer import LatentForCausalLM, encode_prompts
from latent_trainer.analysis.traces import SHARD, Traces, collect
from latent_trainer.errors import InputError

TESTS = Path(__file__).resolve().parents[1]


def make_model(attention: str = "sdpa", **changes):
    tokenizer = make_tokenizer()
    base = make_base("gpt2", vocab_size=len(tokenizer), dtype=torch.float32, attn_implementation=attention, **changes)
    return LatentForCausalLM.from_base(base, tokenizer=tokenizer).eval(), tokenizer


def test_what_is_collected(tmp_path):
    """Latents and hidden states are those of a prompt run alone; column k is the one latent k is thought from."""
    model, tokenizer = make_model()
    problems = uneven_problems(SHARD + 7)
    traces = collect(model, tokenizer, problems, 3, "coconut", tmp_path, batch_size=8)
    assert traces.problems == problems
    latents, hidden = traces.read("latents"), traces.read("hidden", layer=2)
    assert latents.shape == (len(problems), 3, 32)
    assert traces.read("hidden").shape == (len(problems), 3, 4, 32)
    assert traces.read("latents", most=SHARD + 2).shape[0] == SHARD + 2
    for row in (0, 4, SHARD + 6):
        batch = encode_prompts([problems[row].question], tokenizer, 3)
        output = model.run(batch["input_ids"], batch["attention_mask"], output_hidden_states=True)
        place = batch["input_ids"][0].tolist().index(model.config.latent_token_id)
        np.testing.assert_allclose(latents[row], output.latents[0, place : place + 3].detach(), atol=1e-5)
        expected = output.hidden_states[2][0, place - 1 : place + 3].detach()
        np.testing.assert_allclose(hidden[row], expected, atol=1e-5)
    np.testing.assert_allclose(hidden[:, :-1], latents, atol=1e-6)  # plain feedback hands the last hidden state on


def test_attention_rows_add_up_to_one(tmp_path):
    model, tokenizer = make_model("eager")
    problems = uneven_problems(11)
    traces = collect(model, tokenizer, problems, 2, "coconut", tmp_path, batch_size=4, attention=True)
    reads, question = traces.read("reads"), traces.read("question")
    assert reads.shape == (11, 2, 4, 3, 4)
    np.testing.assert_allclose(reads.sum(-1), 1, atol=1e-5)
    assert (reads > -1e-6).all()
    np.testing.assert_allclose(np.nansum(question, -1), reads[..., :2, 0], atol=1e-5)
    assert (reads[..., 0, 2] == 0).all()  # the first latent does not see the second
    words = np.isfinite(question[:, 0, 0, 0]).sum(-1)
    assert words.tolist() == [len(problem.question.split()) for problem in problems]


def test_other_settings_and_nothing_to_trace(tmp_path):
    model, tokenizer = make_model()
    problems = uneven_problems(5)
    collect(model, tokenizer, problems, 2, "coconut", tmp_path)
    with pytest.raises(InputError, match="other num_latents"):
        collect(model, tokenizer, problems, 3, "coconut", tmp_path)
    with pytest.raises(InputError, match="nothing to trace"):
        collect(model, tokenizer, problems, 0, "coconut", tmp_path / "none")
    with pytest.raises(InputError, match="fits the context"):
        collect(model, tokenizer, problems, 200, "coconut", tmp_path / "long")
    with pytest.raises(FileNotFoundError, match="no traces"):
        Traces(tmp_path / "absent")


SCRIPT = """
import json, resource, sys, time
sys.path.insert(0, sys.argv[1])
from analysis.test_traces import make_model
from training import uneven_problems
from latent_trainer.analysis.traces import collect
folder, number, pause, latents, changes = sys.argv[2], *map(json.loads, sys.argv[3:])
model, tokenizer = make_model(**changes)
peaks = {}
def seen(done):
    peaks[done] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(done, flush=True)
    time.sleep(pause)
collect(model, tokenizer, uneven_problems(number), latents, "coconut", folder, batch_size=64, on_batch=seen)
print(json.dumps(peaks))
"""


def start(folder, number: int, pause: float, latents: int, **changes) -> subprocess.Popen:
    """Collect in a process of its own, which says how far it is and waits a while after every shard."""
    words = [forked_python(), "-c", SCRIPT, str(TESTS), str(folder), *map(json.dumps, (number, pause, latents, changes))]
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=TESTS)


def test_bounded_memory(tmp_path):
    """1,000 problems leave more than 60 MB on the disk; memory grows by less than 25 MB after the first two shards."""
    process = start(tmp_path, 1000, 0, 10, n_embd=320, n_layer=3)
    printed = process.communicate(timeout=240)[0]
    assert process.returncode == 0
    peaks = {int(done): size for done, size in json.loads(printed.splitlines()[-1]).items()}
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) > 60e6
    assert peaks[1000] - peaks[2 * SHARD] < 25


def test_a_killed_collection_goes_on(tmp_path):
    """What a killed process has finished is kept, what it had not is the same as without the kill."""
    process = start(tmp_path / "cut", 4 * SHARD, 0.5, 2)
    while process.stdout.readline().strip() != str(2 * SHARD):
        assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.communicate()
    with pytest.raises(FileNotFoundError, match="shards are missing"):
        Traces(tmp_path / "cut")
    kept = {file: file.stat().st_mtime_ns for file in (tmp_path / "cut").glob("*.safetensors")}
    assert 2 <= len(kept) < 4
    model, tokenizer = make_model()
    problems = uneven_problems(4 * SHARD)
    cut, whole = (
        collect(model, tokenizer, problems, 2, "coconut", tmp_path / name, batch_size=64) for name in ("cut", "whole")
    )
    assert {file: file.stat().st_mtime_ns for file in kept} == kept
    for name in ("latents", "hidden"):
        np.testing.assert_allclose(cut.read(name), whole.read(name), atol=1e-6)
