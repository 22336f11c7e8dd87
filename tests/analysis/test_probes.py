"""Probes: each against a direct computation, and on latents made to hold what they should find."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from analysis.test_traces import make_model
from training import make_trainer, uneven_problems

from latent_trainer import LatentForCausalLM
from latent_trainer.analysis import PROBES, Subject, lens, linear, patching, pursuit, similarity, step_value
from latent_trainer.analysis.figures import save_figure
from latent_trainer.analysis.traces import collect
from latent_trainer.cli import main
from latent_trainer.cli.build import of_a_step
from latent_trainer.data import as_problems, load_problems
from latent_trainer.data.generated.arithmetic import OPERATIONS, continued
from latent_trainer.errors import InputError
from latent_trainer.evaluation.generation import generate_answers

RNG = np.random.default_rng(0)


def fake(latents: np.ndarray, problems, **more) -> Subject:
    """Return a subject whose latents (N, K, H) are given, and at all layers the same."""
    hidden = np.concatenate([latents, latents[:, :1]], 1)
    read = {"latents": latents, "hidden": hidden}

    def reader(name, layer=None, most=None):
        return read[name][:most]

    traces = SimpleNamespace(read=reader, problems=problems, num_latents=latents.shape[1], layers=1, header={})
    return Subject(traces, **{"model": None, "tokenizer": None, **more})


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "gemma2"])
def test_lens_equals_numpy(architecture):
    """Final norm and head, written out, give the lens's logits; the last layer's are the model's own."""
    from conftest import make_latent

    model = make_latent(architecture, dtype=torch.float64)
    norm = lens.final_norm(model)
    hidden = RNG.normal(size=(7, 32))
    weight = norm.weight.detach().numpy()
    if architecture == "gpt2":
        centred = hidden - hidden.mean(1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(1, keepdims=True) + norm.eps) * weight + norm.bias.detach().numpy()
    else:
        scale = weight + 1 if architecture == "gemma2" else weight
        epsilon = norm.eps if architecture == "gemma2" else norm.variance_epsilon
        scaled = hidden / np.sqrt((hidden**2).mean(1, keepdims=True) + epsilon) * scale
    head = model.get_output_embeddings().weight.detach().numpy()
    cap = getattr(model.config.base_config, "final_logit_softcapping", None)

    def logits(vectors):
        return vectors @ head.T if cap is None else cap * np.tanh(vectors @ head.T / cap)

    tensor = torch.from_numpy(hidden)
    np.testing.assert_allclose(lens.lens_logits(model, tensor, 1), logits(scaled), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(lens.lens_logits(model, tensor, 2), logits(hidden), rtol=1e-9, atol=1e-9)
    output = model.run(torch.tensor([[1, 2, 3]]), None, output_hidden_states=True)
    expected = model(torch.tensor([[1, 2, 3]])).logits[0]
    torch.testing.assert_close(lens.lens_logits(model, output.hidden_states[-1][0], 2), expected)


def greedy_pursuit(vector: np.ndarray, table: np.ndarray, atoms: int) -> np.ndarray:
    """Choose the row most aligned with what is left, fit all chosen rows anew, and so on."""
    rows = table / np.linalg.norm(table, axis=1, keepdims=True)
    left, chosen, result = vector, [], np.zeros(len(table))
    for _ in range(atoms):
        chosen.append(int(np.abs(rows @ left).argmax()))
        weights = np.linalg.lstsq(rows[chosen].T, vector, rcond=None)[0]
        left = vector - weights @ rows[chosen]
    result[chosen] = weights
    return result


@pytest.mark.parametrize("atoms", [1, 2, 5])
def test_pursuit_equals_numpy(atoms):
    vectors, table = RNG.normal(size=(6, 16)), RNG.normal(size=(40, 16))
    expected = [greedy_pursuit(vector, table, atoms) for vector in vectors]
    np.testing.assert_allclose(pursuit.pursue(vectors, table, atoms), expected, atol=1e-9)


def test_similarity_equals_numpy():
    latents = RNG.normal(size=(9, 3, 8))
    found = similarity.measure(fake(latents, uneven_problems(9)))
    unit = latents / np.linalg.norm(latents, axis=-1, keepdims=True)
    for first in range(3):
        for second in range(3):
            within = np.mean([unit[row, first] @ unit[row, second] for row in range(9)])
            pairs = [unit[a, first] @ unit[b, second] for a in range(9) for b in range(9) if a != b]
            assert found["within"]["mean"][first][second] == pytest.approx(within)
            assert found["between"]["mean"][first][second] == pytest.approx(np.mean(pairs))


def test_linear_probe_finds_what_is_there_and_nothing_else():
    """Latent 1 holds its step's value, latent 2 is noise; shuffled labels are read by chance."""
    problems = as_problems(load_problems("arithmetic", "test", size=200, operations=3))
    directions, noise = RNG.normal(size=(10, 24)), RNG.normal(size=(200, 2, 24))
    latents = noise.copy()
    latents[:, 0] = 0.3 * noise[:, 0] + [directions[int(problem.steps[0])] for problem in problems]
    first, second = linear.measure(fake(latents, problems))["own"]
    assert first["accuracy"] > 0.95
    assert second["accuracy"] < 0.25
    assert first["shuffled"] < 0.25
    assert first["values"] == 10


def test_values_of_steps():
    assert [step_value(text) for text in ("7", "<<48/2=24>>", "3 + 4 = 7.")] == ["7", "24", "7"]
    problems = uneven_problems(2)
    subject = fake(np.zeros((2, 4, 2)), problems, latents_per_step=2)
    assert [row[2] for row in subject.values] == [None, step_value(problems[1].steps[1])]


@pytest.mark.parametrize(
    ("settings", "latents"),
    [
        ({"latents_per_step": 2}, 2),
        ({"method": "codi", "step_decoder": "copy", "step_decoder_group": 3}, 3),
        ({"method": "codi"}, None),
    ],
    ids=["staged", "step decoder", "neither"],
)
def test_a_model_knows_how_many_latents_stand_for_a_step(tmp_path, settings, latents):
    """Saved with it, so that commands that look at its steps need not be told; what is asked for goes first."""
    trainer = make_trainer(tmp_path, **settings)
    trainer.save_model(str(tmp_path / "saved"))
    loaded = LatentForCausalLM.from_pretrained(tmp_path / "saved")
    assert loaded.config.latents_per_step == latents
    assert (of_a_step(loaded, None), of_a_step(loaded, 5)) == (latents or 1, 5)


def test_continued():
    """From the value it really had at any step a problem goes on to its own answer; from another value elsewhere."""
    for problem in as_problems(load_problems("arithmetic", "test", size=20, operations=4)):
        for step, value in enumerate(problem.steps):
            assert continued(problem, step, value) == problem.answer
            assert continued(problem, step, str((int(value) + 1) % 10)) != problem.answer
    (problem,) = as_problems([{"question": "7 +3 x7 -5", "steps": ["0", "0", "5"], "answer": "5"}])
    assert continued(problem, 0, "2") == str(OPERATIONS["-"](2 * 7 % 10, 5))


@pytest.fixture(scope="module")
def model_and_tokenizer(tmp_path_factory):
    """A model with a thought that matters: every weight is drawn large."""
    model, tokenizer = make_model(seed=1)
    from conftest import sharpen

    return sharpen(model), tokenizer


@pytest.mark.parametrize("way", patching.WAYS)
def test_patching_with_itself_changes_nothing(model_and_tokenizer, tmp_path, way):
    model, tokenizer = model_and_tokenizer
    problems = uneven_problems(12)
    traces = collect(model, tokenizer, problems, 3, "coconut", tmp_path)
    latents = torch.from_numpy(traces.read("latents"))
    settings = {"num_latents": 3, "template": "coconut", "max_new_tokens": 6}
    plain = [answer.text for answer in generate_answers(model, tokenizer, problems, **settings)]
    for place in range(3):
        same = patching.patched(latents, list(range(12)), place, way)
        assert [one.text for one in generate_answers(model, tokenizer, problems, latents=same, **settings)] == plain
    donors = [*range(1, 12), 0]
    other = patching.patched(latents, donors, 0, way)
    assert torch.equal(other[:, 0], latents[donors, 0])
    assert [one.text for one in generate_answers(model, tokenizer, problems, latents=other, **settings)] != plain


def test_every_probe_has_numbers_and_figures(tmp_path, capsys):
    """The command runs all probes on a trained model and leaves a record without folders and both files of every figure."""
    trainer = make_trainer(tmp_path / "model", method="answer_only", num_latents=2, max_steps=2, log_level="error")
    trainer.train()
    trainer.save_model()
    out = tmp_path / "results" / "probes"
    argv = [
        "--model",
        str(tmp_path / "model"),
        "--dataset",
        "arithmetic",
        "--dataset_options",
        '{"operations": 2, "size": 40}',
    ]
    argv += ["--out", str(out), "--most", "10", "--probes", *PROBES]
    main("probe", argv)
    record = json.loads(out.with_suffix(".json").read_text())
    assert set(record["probes"]) == set(PROBES)
    assert str(tmp_path) not in out.with_suffix(".json").read_text()
    assert {"data_hash", "git_commit", "versions", "config"} <= set(record)
    for probe in PROBES.values():
        for name in probe.figures:
            assert (out / f"{name}.png").stat().st_size > 5_000
            assert "<svg" in (out / f"{name}.svg").read_text()
    assert str(out / "lens.png") in capsys.readouterr().out.replace("\n", "")
    before = {path: path.stat().st_mtime_ns for path in (out / "traces").iterdir()}
    main("probe", [*argv[: -len(PROBES)], "attention", "norms"])  # the traces are read again, not collected again
    assert {path: path.stat().st_mtime_ns for path in (out / "traces").iterdir()} == before
    with pytest.raises(SystemExit):
        main("probe", [*argv[: -len(PROBES)], "telepathy"])
    assert "probe='telepathy' is not one of" in capsys.readouterr().err


def test_attention_must_be_in_the_traces(tmp_path):
    model, tokenizer = make_model()
    traces = collect(model, tokenizer, uneven_problems(3), 2, "coconut", tmp_path)
    with pytest.raises(InputError, match="attention=True"):
        PROBES["attention"].measure(Subject(traces, model, tokenizer))


def test_figures_are_the_same_every_time(tmp_path):
    result = {"latents": [{"latent": 1, "norm": 2.0, "norm_stderr": 0.1}], "embedding_norm": 1.0}
    for name in ("first", "second"):
        save_figure(PROBES["norms"].figures["norms"], result, tmp_path / name)
    assert (tmp_path / "first.svg").read_bytes() == (tmp_path / "second.svg").read_bytes()
