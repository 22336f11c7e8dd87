"""The step decoder: what it must read, its loss against a plain loop, what is saved, and explanations."""

import json
import shutil

import pytest
import torch
from conftest import make_base, make_latent, sharpen
from peft import LoraConfig
from reference import assert_close, gradients, latent_columns, naive_embeds
from safetensors import safe_open
from training import history, make_tokenizer, make_trainer, uneven_problems

from latent_trainer import LatentForCausalLM, LatentTrainingArguments, encode_prompts
from latent_trainer.analysis.explain import explain_latents
from latent_trainer.cli import main
from latent_trainer.data import Encoder, LatentCollator
from latent_trainer.data.encoding import StepTarget, View
from latent_trainer.data.problem import Problem
from latent_trainer.data.thought_tokens import add_thought_tokens
from latent_trainer.errors import InputError
from latent_trainer.methods.curriculum import EVERYTHING, Plan, StagedCurriculum
from latent_trainer.methods.objectives.steps import StepObjective, StepOptions
from latent_trainer.methods.step import Step
from latent_trainer.model.adapters import latent_model

KINDS = ["copy", "shared"]
SIM_COT = {"method": "sim_cot", "latents_per_step": 2, "max_stage": 2, "steps_per_stage": [1]}


@pytest.fixture
def encoder() -> Encoder:
    tokenizer = make_tokenizer()
    add_thought_tokens(tokenizer, "<|bot|>", "<|eot|>")
    return Encoder(tokenizer, "plain")


# ---- what is to be read ----


@pytest.mark.parametrize(
    ("plan", "group", "steps", "columns"),
    [
        (Plan(0, 0), 1, [], []),
        (Plan(0, EVERYTHING), 1, [], []),
        (Plan(2, 1), 2, ["1"], [[1, 2]]),
        (Plan(4, 2), 2, ["1", "2"], [[1, 2], [3, 4]]),
        (Plan(4, EVERYTHING), 1, ["1", "2", "3", "4"], [[1], [2], [3], [4]]),
        (Plan(2, EVERYTHING), 1, ["1", "2 3 4"], [[1], [2]]),  # steps beyond the last group merge into it
        (Plan(2, EVERYTHING), 2, ["1 2 3 4"], [[1, 2]]),
        (Plan(3, EVERYTHING), 2, ["1 2 3 4"], [[1, 2]]),  # the third latent is no whole group
        (Plan(1, EVERYTHING), 2, [], []),
        (Plan(6, EVERYTHING), 1, ["1", "2", "3", "4"], [[1], [2], [3], [4]]),  # groups without a step have no target
        (Plan(3, 3), 1, ["1", "2", "3"], [[1], [2], [3]]),  # the step that is still written is not decoded
        (Plan(6, 3), 1, ["1", "2", "3"], [[1], [2], [3]]),
    ],
)
def test_step_targets(encoder, plan, group, steps, columns):
    row = encoder.problem(Problem("7", ("1", "2", "3", "4"), "5", "x"))
    targets = encoder.step_targets(row, plan, group)
    end = encoder.tokenizer.eos_token_id
    assert [target.input_ids[-1] for target in targets] == [end] * len(targets)
    assert [encoder.tokenizer.decode(target.input_ids[:-1]) for target in targets] == steps
    assert [target.columns for target in targets] == columns
    view = encoder.latent_view(row, plan).input_ids
    assert all(view[column] == encoder.latent for target in targets for column in target.columns)


def test_step_targets_of_staged_plans(encoder):
    """At stage s the first s steps; in the last stage all of them, the surplus in the last group."""
    curriculum = StagedCurriculum(latents_per_step=2, max_stage=2)
    row = encoder.problem(Problem("7", ("1", "2", "3"), "5", "x"))
    seen = []
    for stage in range(curriculum.num_stages):
        targets = encoder.step_targets(row, curriculum.plan(stage, row), 2)
        seen.append([encoder.tokenizer.decode(target.input_ids[:-1]) for target in targets])
    assert seen == [[], ["1"], ["1", "2"], ["1", "2 3"]]


def test_step_targets_without_markers():
    """The latents then start in the first column of the view."""
    tokenizer = make_tokenizer()
    add_thought_tokens(tokenizer, "<|bot|>", "<|eot|>")
    encoder = Encoder(tokenizer, {"step": "{step} ", "markers": False})
    row = encoder.problem(Problem("7", ("1", "2"), "5", "x"))
    targets = encoder.step_targets(row, Plan(4, EVERYTHING), 2)
    assert [target.columns for target in targets] == [[0, 1], [2, 3]]


def test_collated_steps():
    targets = [[StepTarget([5, 0], [1, 2]), StepTarget([6, 7, 0], [3, 4])], [], [StepTarget([8, 0], [1, 2])]]
    steps = LatentCollator(9).steps(targets, 2)
    assert steps["input_ids"].tolist() == [[5, 0, 9], [6, 7, 0], [8, 0, 9]]
    assert steps["attention_mask"].tolist() == [[1, 1, 0], [1, 1, 1], [1, 1, 0]]
    assert steps["labels"].tolist() == [[5, 0, -100], [6, 7, 0], [8, 0, -100]]
    assert steps["row"].tolist() == [0, 0, 2] and steps["columns"].tolist() == [[1, 2], [3, 4], [1, 2]]
    nothing = LatentCollator(9).steps([[], []], 2)
    assert nothing["labels"].tolist() == [[-100]] and nothing["columns"].tolist() == [[0, 0]]


# ---- its loss ----

TARGETS = [
    [StepTarget([20, 0], [1, 2]), StepTarget([21, 22, 23, 0], [3, 4])],
    [StepTarget([24, 25, 0], [1, 2])],
    [],
]


def make(kind: str, architecture: str = "gpt2", **options) -> LatentForCausalLM:
    """Return a latent model whose copy has left the base's weights behind."""
    model = sharpen(make_latent(architecture, **options))
    model.add_step_decoder(kind, group=2)
    with torch.no_grad():
        for number, parameter in enumerate(model.step_decoder.parameters()):
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number)))
    return model.train()


def rows() -> list:
    prompts, latents = [[5, 6, 7], [8], [9, 10]], [5, 2, 0]
    made = []
    for prompt, number in zip(prompts, latents, strict=True):
        thought = [98, *[97] * number, 99]
        views = {
            "latent": View([*thought, 40, 41], [-100] * len(thought) + [40, 41], len(thought)),
            "explicit": View([30, 40, 41], [30, 40, 41], 1),
        }
        made.append((prompt, views))
    return made


def outputs_of(model, numbers=(0, 1, 2), views=("latent", "explicit")):
    collator = LatentCollator(pad_token_id=0)
    chosen = [(rows()[number][0], {name: rows()[number][1][name] for name in views}) for number in numbers]
    steps = collator.steps([TARGETS[number] for number in numbers], 2)
    return model(**collator(chosen), steps=steps)


def naive_losses(model) -> torch.Tensor:
    """Return the cross-entropies of all step tokens, one row and one group after the other."""
    decoder = model.base if model.step_decoder.decoder is None else model.step_decoder.decoder
    losses = []
    for (prompt, views), targets in zip(rows(), TARGETS, strict=True):
        ids = prompt + views["latent"].input_ids
        embeds = naive_embeds(model.base, ids, latent_columns(ids), model._next_embedding)
        for target in targets:
            thought = embeds[:, [len(prompt) + column for column in target.columns]]
            tokens = torch.tensor([target.input_ids])
            read = torch.cat([thought, decoder.get_input_embeddings()(tokens)], 1)
            logits = decoder(inputs_embeds=read, use_cache=False).logits[0, thought.shape[1] - 1 : -1]
            losses.append(torch.nn.functional.cross_entropy(logits, tokens[0], reduction="none"))
    return torch.cat(losses)


@pytest.mark.parametrize("feedback", ["hidden", "projection", "soft"])
@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
@pytest.mark.parametrize("kind", KINDS)
def test_loss_equals_the_plain_loop(kind, architecture, feedback, exact_norms):
    model = make(kind, architecture, feedback=feedback)
    losses, naive = outputs_of(model)["steps"].token_loss, naive_losses(model)
    assert len(losses) == 9
    assert_close(losses, naive)
    weights = torch.arange(1.0, 10.0, dtype=torch.float64)  # so that an exchange of tokens would show
    ours = gradients(model, (weights * losses).sum())
    assert_close(ours, gradients(model, (weights * naive).sum()))


@pytest.mark.parametrize("kind", KINDS)
def test_other_views_are_left_alone(kind):
    """With a step decoder or without one, with one view or two, the views have the same losses."""
    model = make(kind)
    both, one = outputs_of(model), outputs_of(model, views=("latent",))
    assert_close(one["steps"].token_loss, both["steps"].token_loss)
    plain = make_latent()
    plain.base = model.base
    expected = plain.train()(**LatentCollator(pad_token_id=0)(rows()))
    assert expected.keys() == {"latent", "explicit"} and one.keys() == {"latent", "steps"}
    for name, output in expected.items():
        assert_close(both[name].token_loss, output.token_loss)


@pytest.mark.parametrize("kind", KINDS)
def test_micro_batches_add_up(kind):
    """The term is a share of a global sum; a row without steps adds nothing, also in a micro-batch of its own."""
    model, objective, counts = make(kind), StepObjective(StepOptions(0.5)), {"steps_tokens": 9}
    whole = objective(Step(outputs_of(model), {}, counts))["steps"]
    assert_close(whole, 0.5 * naive_losses(model).mean())
    split = sum(objective(Step(outputs_of(model, [number]), {}, counts))["steps"] for number in range(3))
    assert_close(split, whole)
    assert_close(gradients(model, split), gradients(model, whole))


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_to_read(kind):
    """In the first stage no row has a step to decode: the term is zero, and the decoder runs all the same."""
    model = make(kind)
    term = StepObjective()(Step(outputs_of(model, [2]), {}, {"steps_tokens": 0}))["steps"]
    assert term.item() == 0.0
    term.backward()
    assert all(parameter.grad is not None and not parameter.grad.any() for parameter in model.step_decoder.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_reaches_the_latents_and_the_base(kind):
    """The term alone moves the projection, the base and a copy; with constant latents a copy moves alone."""
    model = make(kind, feedback="projection")
    found = gradients(model, outputs_of(model, views=("latent",))["steps"].token_loss.sum())
    still = {name for name, gradient in found.items() if not gradient.any()}
    assert not still
    constant = make(kind, feedback="projection", backprop="none")
    found = gradients(constant, outputs_of(constant, views=("latent",))["steps"].token_loss.sum())
    assert not any(gradient.any() for name, gradient in found.items() if name.startswith("feedback"))
    moved = {name.split(".")[0] for name, gradient in found.items() if gradient.any()}
    assert moved == {"copy": {"step_decoder"}, "shared": {"base"}}[kind]


# ---- its weights ----


def test_a_copy_starts_from_the_base(tmp_path):
    trainer = make_trainer(tmp_path, **SIM_COT, step_decoder="copy", max_steps=3)
    model = trainer.model
    base, copy = model.base.state_dict(), model.step_decoder.decoder.state_dict()
    assert base.keys() == copy.keys()
    for name, tensor in base.items():
        assert torch.equal(copy[name], tensor) and copy[name].data_ptr() != tensor.data_ptr(), name
    trainer.train()
    base, copy = model.base.state_dict(), model.step_decoder.decoder.state_dict()
    assert not any(torch.equal(copy[name], tensor) for name, tensor in base.items())


def test_a_shared_decoder_has_no_parameters(tmp_path):
    trainer = make_trainer(tmp_path, **SIM_COT, step_decoder="shared")
    assert not list(trainer.model.step_decoder.parameters())
    assert {name.split(".")[0] for name, _ in trainer.model.named_parameters()} == {"base"}


def test_adding_and_taking_away():
    """One that is in place keeps its weights; another kind takes its place, None takes it away."""
    model = make("copy")
    first = model.step_decoder
    model.add_step_decoder("copy", 3)
    assert model.step_decoder is first and model.config.step_decoder_group == 3
    model.add_step_decoder("shared", 1)
    assert model.step_decoder.decoder is None and model.config.step_decoder == "shared"
    model.add_step_decoder(None)
    assert model.step_decoder is None and model.config.step_decoder is None


# ---- training, saving, resuming ----


def saved_names(folder) -> set[str]:
    (file,) = folder.glob("*.safetensors")
    with safe_open(file, "pt") as tensors:
        return set(tensors.keys())


def decoder_names(folder) -> set[str]:
    return {name for name in saved_names(folder) if "step_decoder" in name}


def weights(trainer) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in trainer.model.state_dict().items()}


@pytest.fixture
def trained(tmp_path):
    """Return a function that trains from a base on disk, as an adapter needs it."""

    def run(folder, adapters: bool, train: bool = True, **changes):
        lora = {"peft_config": LoraConfig(r=2)} if adapters else {}
        settings = {**SIM_COT, "max_steps": 4, "save_strategy": "steps", "save_steps": 2, "max_grad_norm": 1.0, **changes}
        trainer = make_trainer(tmp_path / folder, **settings, **lora)
        make_base(vocab_size=len(make_tokenizer()), dtype=torch.float32).save_pretrained(tmp_path / "base")
        latent_model(trainer.model).config.base_name_or_path = str(tmp_path / "base")
        if train:
            trainer.train()
        return trainer

    return run


@pytest.mark.parametrize("adapters", [False, True], ids=["full", "lora"])
@pytest.mark.parametrize("kind", KINDS)
def test_saving(tmp_path, trained, kind, adapters):
    """A copy stays in checkpoints and leaves the finished model; the trainer's own model keeps it."""
    trainer = trained("out", adapters, step_decoder=kind)
    trainer.save_model()
    assert bool(decoder_names(tmp_path / "out" / "checkpoint-4")) == (kind == "copy")
    assert not decoder_names(tmp_path / "out")
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["step_decoder"] == {"copy": None, "shared": "shared"}[kind]
    latent = latent_model(trainer.model)
    assert latent.step_decoder is not None and latent.config.step_decoder == kind
    loaded = LatentForCausalLM.from_pretrained(str(tmp_path / "out"))
    assert (loaded.step_decoder is None) == (kind == "copy")
    batch = encode_prompts(["1 2", "3"], trainer.processing_class, 2, "plain")
    with torch.no_grad():
        expected = trainer.model.eval()(**batch).logits[0, -1]
        assert_close(loaded(**batch).logits[0, -1], expected, 1e-5 if adapters else 0.0)
    if adapters and kind == "copy":
        saved = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
        assert saved["modules_to_save"] is None
        assert "step_decoder" in next(iter(trainer.model.peft_config.values())).modules_to_save


@pytest.mark.parametrize("adapters", [False, True], ids=["full", "lora"])
def test_keeping(tmp_path, trained, adapters):
    """With keep_step_decoder=True the trained decoder comes back with the model, group size included."""
    trainer = trained("out", adapters, step_decoder="copy", keep_step_decoder=True)
    trainer.save_model()
    assert decoder_names(tmp_path / "out") == decoder_names(tmp_path / "out" / "checkpoint-4") != set()
    loaded = LatentForCausalLM.from_pretrained(str(tmp_path / "out"))
    decoder = latent_model(trainer.model).step_decoder
    decoder = decoder.modules_to_save["default"] if adapters else decoder
    found, expected = loaded.step_decoder.state_dict(), decoder.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    assert (loaded.config.step_decoder, loaded.config.step_decoder_group) == ("copy", 2)


@pytest.mark.parametrize("adapters", [False, True], ids=["full", "lora"])
@pytest.mark.parametrize("kind", KINDS)
def test_resume(tmp_path, trained, kind, adapters):
    whole = trained("whole", adapters, step_decoder=kind)
    shutil.copytree(tmp_path / "whole" / "checkpoint-2", tmp_path / "again" / "checkpoint-2")
    again = trained("again", adapters, train=False, step_decoder=kind)
    again.train(resume_from_checkpoint=True)
    terms = ("loss", "loss_answer", "loss_steps", "grad_norm")
    assert history(again, *terms) == history(whole, *terms) and len(history(whole)) == 4
    found, expected = weights(again), weights(whole)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_batch_and_accumulation(tmp_path):
    """Steps are counted over the whole accumulated batch."""
    curves = []
    for batch, accumulation in ((8, 1), (1, 8)):
        sizes = {"per_device_train_batch_size": batch, "gradient_accumulation_steps": accumulation}
        trainer = make_trainer(
            tmp_path / str(batch), dtype=torch.float64, **SIM_COT, **sizes, max_steps=4, step_decoder_weight=0.5
        )
        trainer.train()
        curves.append([number for step in history(trainer, "loss_answer", "loss_steps", "grad_norm") for number in step])
    assert curves[1] == pytest.approx(curves[0], rel=1e-6)  # the stock trainer adds losses up in float32


def test_the_weight_scales_the_term(tmp_path):
    terms = {}
    for weight in (1.0, 0.25):
        trainer = make_trainer(tmp_path, **SIM_COT, first_stage=3, max_steps=1, step_decoder_weight=weight)
        trainer.train()
        ((_, _, terms[weight]),) = history(trainer, "loss_steps")
    assert terms[0.25] == pytest.approx(0.25 * terms[1.0], rel=1e-6) and terms[1.0] > 0


# ---- explanations ----


@torch.no_grad()
def naive_explanation(model, thought, new_tokens) -> list[int]:
    """Return the greedy text of one latent group, without a cache."""
    decoder = model.base if model.step_decoder.decoder is None else model.step_decoder.decoder
    embeds, written = thought[None], []
    while len(written) < new_tokens and 0 not in written:
        written.append(decoder(inputs_embeds=embeds, use_cache=False).logits[0, -1].argmax().item())
        embeds = torch.cat([embeds, decoder.get_input_embeddings()(torch.tensor([written[-1:]]))], 1)
    return written


@pytest.mark.parametrize("kind", KINDS)
def test_explain_writes_what_the_decoder_reads(kind):
    model = make(kind).eval()
    thoughts = torch.randn(5, 2, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    written = model.step_decoder.explain(thoughts, model.base, max_new_tokens=5).tolist()
    expected = [naive_explanation(model, thought, 5) for thought in thoughts]
    assert [row[: row.index(0) + 1] if 0 in row else row for row in written] == expected
    assert len({tuple(row) for row in expected}) > 1


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    """Return problems, and the folder of a model that has learned to read their steps from its latents."""
    folder = tmp_path_factory.mktemp("reader")
    problems = uneven_problems(6)
    trainer = make_trainer(
        folder / "copy",
        train_dataset=problems,
        **{**SIM_COT, "steps_per_stage": None, "feedback": "projection", "learning_rate": 5e-3},
        **{"lr_scheduler_type": "constant", "per_device_train_batch_size": 6, "logging_steps": 100},
        first_stage=3,
        max_steps=70,
        keep_step_decoder=True,
    )
    trainer.train()
    trainer.save_model()
    return problems, trainer, folder / "copy"


def test_explanations_are_the_steps(reader):
    """Two groups of two latents: the first step, and all the others in one."""
    problems, trainer, folder = reader
    loaded = LatentForCausalLM.from_pretrained(folder)
    counts = [2 * min(2, len(problem.steps)) for problem in problems]
    batch = encode_prompts([problem.question for problem in problems], trainer.processing_class, counts, "plain")
    for model in (trainer.model.eval(), loaded):
        found = explain_latents(model, trainer.processing_class, **batch)
        expected = [
            [problem.steps[0], " ".join(problem.steps[1:])] if len(problem.steps) > 1 else [problem.steps[0]]
            for problem in problems
        ]
        assert [[text.split() for text in row] for row in found] == [[text.split() for text in row] for row in expected]
    assert explain_latents(loaded, trainer.processing_class, **{**batch, "max_new_tokens": 1})[1][1] == "+"


def test_latents_left_over_are_not_explained(reader):
    problems, trainer, folder = reader
    loaded = LatentForCausalLM.from_pretrained(folder)
    questions = [problems[1].question] * 4
    batch = encode_prompts(questions, trainer.processing_class, [5, 4, 1, 0], "plain")
    found = explain_latents(loaded, trainer.processing_class, **batch)
    assert [len(row) for row in found] == [2, 2, 0, 0] and found[0] == found[1]
    batch = encode_prompts(questions, trainer.processing_class, 0, "plain")
    assert explain_latents(loaded, trainer.processing_class, **batch) == [[]] * 4


def run(capsys, *words) -> list[str]:
    capsys.readouterr()
    main("generate", [str(word) for word in words])
    return capsys.readouterr().out.splitlines()


def test_generate_explains(reader, capsys):
    problems, _, folder = reader
    chosen = problems[1:3]
    words = ["--model", folder, "--max_new_tokens", 4, "--question", *(problem.question for problem in chosen)]
    plain, explained = run(capsys, *words), run(capsys, *words, "--explain")
    assert [line for line in explained if not line.startswith("  [")] == plain and len(plain) == 4
    for number, problem in enumerate(chosen):
        assert explained[4 * number] == problem.question
        first, second = explained[4 * number + 1 : 4 * number + 3]
        assert first.split() == ["[1]", *problem.steps[0].split()]
        assert second.split() == ["[2]", *" ".join(problem.steps[1:]).split()]


def test_generate_explains_thoughts_of_any_length(reader, capsys):
    """A thought that ends by itself is explained as far as it went."""
    problems, _, folder = reader
    words = ["--model", folder, "--max_new_tokens", 4, "--question", problems[1].question]
    given = run(capsys, *words, "--explain")
    assert run(capsys, *words, "--explain", "--entropy_threshold", 0) == given
    short = run(capsys, *words, "--explain", "--entropy_threshold", 100, "--patience", 3)
    assert short[:2] == given[:2] and len(short) == 3  # ended after two latents


def test_a_shared_decoder_explains(tmp_path, capsys):
    """It has no weights to keep, so that a model trained with one explains without further ado."""
    trainer = make_trainer(tmp_path, **SIM_COT, step_decoder="shared", first_stage=3, max_steps=1)
    trainer.train()
    trainer.save_model()
    printed = run(capsys, "--model", tmp_path, "--question", "1 2", "--explain", "--max_new_tokens", 3)
    assert [line[:5] for line in printed[1:3]] == ["  [1]", "  [2]"] and len(printed) == 4


def test_no_step_decoder_to_explain_with(tmp_path, capsys):
    trainer = make_trainer(tmp_path, **SIM_COT, max_steps=1)
    trainer.save_model()
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        main("generate", ["--model", str(tmp_path), "--question", "1", "--explain"])
    captured = capsys.readouterr()
    assert stop.value.code == 2 and captured.out == ""
    line = captured.err.splitlines()[-1]  # after the progress of loading
    assert line.startswith("latent-trainer: ") and "no step decoder" in line and "keep_step_decoder: true" in line


# ---- what is refused ----


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"method": "cot", "step_decoder": "copy"}, "nothing to read: there are no latents"),
        ({"method": "icot", "step_decoder": "shared"}, "nothing to read: there are no latents"),
        ({"method": "pause", "step_decoder": "copy"}, "nothing to read: feedback=learned"),
        ({"method": "sim_cot", "max_stage": 0}, "nothing to read: there are no latents"),
        ({"method": "codi", "step_decoder": "copy", "step_decoder_group": 7}, "there are no 7 latents for a step"),
        ({"method": "codi", "objective": "answer", "step_decoder": "copy", "keep_steps": True}, "keep_steps=True leaves no"),
        ({"method": "sim_cot", "step_decoder": "twin"}, "step_decoder='twin' is not one of copy, shared"),
        ({"method": "sim_cot", "step_decoder_group": 0}, "step_decoder_group=0 must be at least 1"),
        ({"method": "sim_cot", "step_decoder_weight": -1.0}, "step_decoder_weight=-1.0 must be at least 0"),
        ({"method": "coconut", "keep_step_decoder": True}, "keep_step_decoder=True has nothing to keep"),
    ],
)
def test_refused(tmp_path, changes, says):
    if changes.get("objective") == "answer":
        changes["objective_options"] = {}
    with pytest.raises(InputError, match=says) as caught:
        LatentTrainingArguments(str(tmp_path), **changes)
    assert len(str(caught.value).splitlines()) == 1
