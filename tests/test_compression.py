"""Compression: groups of step tokens as columns, drawn factors and labels, thoughts that end themselves."""

import logging
import math
import random

import pytest
import torch
import transformers
from reference import assert_close
from training import history, make_trainer

from latent_trainer import LatentForCausalLM, encode_prompts
from latent_trainer.data.encoding import Group, View
from latent_trainer.data.problem import Problem
from latent_trainer.data.template import Template, resolve_template
from latent_trainer.errors import InputError
from latent_trainer.evaluation.controls import CONTROLS, collect_latents
from latent_trainer.evaluation.generation import generate_answers, new_tokens
from latent_trainer.methods.curriculum import CompressedCurriculum, of_step
from latent_trainer.methods.objectives.contract import Objective
from latent_trainer.methods.step import Needs, Step
from latent_trainer.testing import CurriculumContract, FeedbackContract, ObjectiveContract
from latent_trainer.testing.tiny import uneven_problems
from latent_trainer.training.objective_checks import check_views

COLAR = {"method": "colar", "dtype": torch.float64}


class TestObjective(ObjectiveContract):
    objective = "compression"
    settings = {"method": "colar"}


class TestLikelihood(ObjectiveContract):
    objective, options = "compression", {"embedding_loss": "nll", "weight": 0.5}
    settings = {"method": "colar", "curriculum_options": {"max_compression": 2}}


class TestFeedback(FeedbackContract):
    feedback, settings = "gaussian", {"method": "colar"}


class TestCurriculum(CurriculumContract):
    curriculum, options = "compressed", {"max_compression": 4, "compression": 3}


# ---- the curriculum ----


class Steps:
    """A row with steps of these numbers of tokens."""

    prompt, answer = (1,), (2,)

    def __init__(self, *lengths):
        self.steps = [[7] * length for length in lengths]


@pytest.mark.parametrize(
    ("lengths", "r", "latents"), [((3, 2), 2, 3), ((3, 2), 5, 1), ((1,), 4, 1), ((), 3, 0), ((6,), 1, 6)]
)
def test_every_r_tokens_are_a_latent(lengths, r, latents):
    """Groups run over the borders of steps; the last may be shorter, and a row without steps has none."""
    curriculum = CompressedCurriculum(max_compression=r)
    assert curriculum.plan(0, Steps(*lengths)).latents == latents
    drawn = curriculum.plan(0, Steps(*lengths), random.Random(0)).compression
    sizes = [min(r, sum(lengths) - r * group) for group in range(latents)]
    assert len(drawn.chosen) == latents and all(0 <= place < size for place, size in zip(drawn.chosen, sizes, strict=True))


def test_a_factor_for_all_rows_of_a_step():
    """The same at every call, whichever process asks; another one at another step; all of them come up."""
    curriculum = CompressedCurriculum(max_compression=5, min_compression=2, compression=4)
    factors = [of_step(curriculum, 0, step).factor for step in range(60)]
    assert factors == [of_step(curriculum, 0, step).factor for step in range(60)] != [4] * 60
    assert set(factors) == {2, 3, 4, 5} and curriculum.factor == 4
    assert of_step("a curriculum that draws nothing", 0, 3) == "a curriculum that draws nothing"
    with pytest.raises(InputError, match="min_compression=3 is above max_compression=2"):
        CompressedCurriculum(max_compression=2, min_compression=3)


def test_prompts_are_told_the_factor_of_their_step(tmp_path):
    """One factor in all rows of a step, in the prompts and in the groups; evaluation has its own."""
    trainer = make_trainer(tmp_path, **COLAR)
    encoder, seen = trainer.batches.encoder, set()
    for step in range(12):
        batch = trainer.batches.batch([0, 3, 7], trainer.rows, 0, 0, step)
        factor = of_step(trainer.curriculum, trainer.args.seed, step).factor
        seen.add(factor)
        sizes = (batch["views"]["latent"]["group_weights"] > 0).sum(2)  # (B, G)
        tokens = [sum(map(len, trainer.rows[row].steps)) for row in (0, 3, 7)]
        assert sizes[:, 1:].sum(1).tolist() == tokens
        assert sizes.max() == min(factor, max(tokens))
        told = encoder.speed(factor)
        for row in batch["input_ids"].tolist():
            assert row[-len(told) :] == told
    assert len(seen) > 2
    assert encoder.prompt("1 2", None) == [*encoder.question("1 2"), *encoder.speed(5), encoder.bot]


def test_a_factor_that_no_prompt_can_tell(tmp_path, caplog, monkeypatch):
    """A tokenizer without words for the text says so; one with digits tells them apart."""
    transformers.utils.logging.warning_once.cache_clear()
    monkeypatch.setattr(logging.getLogger("latent_trainer"), "propagate", True)
    monkeypatch.setattr(logging.getLogger("transformers"), "propagate", True)
    caplog.set_level(logging.WARNING)
    make_trainer(tmp_path, **COLAR, speed="{compression} ")
    assert "compression factors" not in caplog.text
    make_trainer(tmp_path, **COLAR, speed="(at {compression})")
    assert "alike for several of the compression factors [1, 2, 3, 4, 5]" in caplog.text


# ---- the columns ----


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_groups_are_sums_of_embeddings(tmp_path, architecture):
    """A step's hidden states are those of a base model that is given the sums, whatever else is in the batch."""
    trainer = make_trainer(tmp_path, architecture=architecture, **COLAR)
    model, encoder = trainer.model.eval(), trainer.batches.encoder
    batch = trainer.batches.batch([0, 3, 6], trainer.rows, 0, 0, 2)
    view = batch["views"]["latent"]
    needs = Needs(last_hidden=("columns",), inputs=("columns", "groups", "after_groups"), latents=True)
    with torch.no_grad():
        found = model(batch["input_ids"], batch["attention_mask"], views=batch["views"], needs=needs)["latent"]
    embed = model.get_input_embeddings()
    factor = of_step(trainer.curriculum, trainer.args.seed, 2).factor
    for place, row in enumerate(trainer.rows[index] for index in (0, 3, 6)):
        tokens = [token for step in row.steps for token in step]
        runs = [tokens[start : start + factor] for start in range(0, len(tokens), factor)]
        divisors = [1.0 if factor == 1 else math.sqrt(len(run)) + 1e-5 for run in ([encoder.bot], *runs)]
        sums = [embed(torch.tensor(run)).sum(0) / by for run, by in zip(([encoder.bot], *runs), divisors, strict=True)]
        rest = embed(torch.tensor([encoder.eot, *row.answer_prefix, *row.answer]))
        prompt = embed(torch.tensor(encoder.asked(row, of_step(trainer.curriculum, trainer.args.seed, 2).plan(0, row))))
        whole = torch.cat([prompt, torch.stack(sums), rest]).unsqueeze(0)  # (1, T, H)
        hidden = model.base.base_model(inputs_embeds=whole, use_cache=False).last_hidden_state[0]
        width, start = len(sums) + len(rest), len(prompt) - 1
        assert_close(found.last_hidden["columns"][place, :width], hidden[start : start + width], 1e-9)
        assert_close(found.inputs["columns"][place, :width], whole[0, start : start + width], 1e-12)
        assert_close(found.inputs["groups"][place, : len(sums)], torch.stack(sums), 1e-12)
        assert_close(found.inputs["after_groups"][place, : len(sums)], torch.stack([*sums[1:], rest[0]]), 1e-12)
        assert_close(found.latents[place, : len(runs)], torch.stack(sums[1:]) if runs else found.latents[place, :0], 1e-12)
    assert view["group_columns"].shape == (3, max(len(ids) for ids in view["group_ids"]))


def test_rows_without_steps(tmp_path):
    """Their thought ends where it begins, in training and in what they teach."""
    problems = [*uneven_problems(6), Problem(question="1 2", steps=(), answer="3", id="none")]
    trainer = make_trainer(tmp_path, train_dataset=problems, max_steps=2, **COLAR)
    view = trainer.batches.batch([6], trainer.rows, 0, 0, 0)["views"]["latent"]
    encoder = trainer.batches.encoder
    assert view["labels"][0, :2].tolist() == [encoder.bot, encoder.eot] and view["group_columns"].tolist() == [[0]]
    trainer.train()
    assert all(math.isfinite(loss) for *_, loss in history(trainer, "loss_embedding"))


def test_noise_belongs_to_a_row(tmp_path):
    """Each row's comes from its own seed, whatever stands beside it; another epoch draws another; evaluation draws none."""
    trainer = make_trainer(tmp_path, **COLAR)
    objective = trainer.train_objective

    def noise(indices, epoch):
        batch = trainer.batches.batch(indices, trainer.rows, 0, epoch, 1)
        return objective.noise(Step({}, batch), batch["views"]["latent"]["group_columns"] >= 0, 32)

    together, alone = noise([0, 3, 5], 0), noise([5], 0)
    assert torch.equal(together[2, : alone.shape[1]], alone[0]) and alone.abs().sum() > 0
    assert not torch.equal(alone, noise([5], 1)) and not torch.equal(together[0, 0], together[1, 0])
    assert not noise([0, 3], None).any()
    deviation = torch.cat([noise([row], epoch)[0] for row in range(10) for epoch in range(10)]).std()
    assert deviation == pytest.approx(1.0, abs=0.05)


# ---- thoughts that end themselves ----


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A trainer of a model that has learned how long its thoughts are, more or less."""
    options = {"max_compression": 2, "compression": 1, "max_latents": 7}
    settings = {**COLAR, "curriculum_options": options, "max_steps": 60, "learning_rate": 5e-3, "number": 16}
    trainer = make_trainer(tmp_path_factory.mktemp("trained"), **settings)
    trainer.train()
    trainer.model.eval()
    return trainer


@torch.no_grad()
def naive(model, prompt: list[int], most: int, new: int) -> tuple[int, list[int]]:
    """Think and write one token at a time, everything computed anew; return the latents and what is written after them."""
    embed, config = model.get_input_embeddings(), model.config
    row, latents, written = embed(torch.tensor(prompt)), 0, []
    while len(written) < new:
        hidden = model.base.base_model(inputs_embeds=row.unsqueeze(0), use_cache=False).last_hidden_state[0, -1]
        logits = model.base.get_output_embeddings()(hidden)
        logits[[config.latent_token_id, config.bot_token_id]] = -torch.inf
        token = int(logits.argmax())
        if not written and token != config.eot_token_id and latents < most:
            mean, _ = model.feedback.distribution(hidden)
            latents, row = latents + 1, torch.cat([row, (mean * embed.weight.std()).unsqueeze(0)])
            continue
        written.append(token if written else config.eot_token_id)
        row = torch.cat([row, embed(torch.tensor(written[-1:]))])
        if written[-1] == 0:
            break
    return latents, written


def texts(trainer, **options):
    model, template = trainer.model, trainer.model.config.template
    problems = [row.problem for row in trainer.rows]
    written = {}
    answers = generate_answers(
        model,
        trainer.processing_class,
        problems,
        model.config.num_latents,
        template,
        max_new_tokens=6,
        on_tokens=written.__setitem__,
        **options,
    )
    return answers, [written[place] for place in range(len(problems))]


def test_the_model_ends_its_thought(trained):
    """As a loop that computes everything anew; every row says how many latents it had, and what it wrote without them."""
    model, encoder = trained.model, trained.batches.encoder
    answers, written = texts(trained, batch_size=5)
    expected = [naive(model, encoder.prompt(row.problem.question, None), 7, 6) for row in trained.rows]
    assert [(answer.latents, tokens) for answer, tokens in zip(answers, written, strict=True)] == expected
    assert len({latents for latents, _ in expected}) > 1 and max(answer.tokens_written for answer in answers) <= 6
    assert all(answer.passes == answer.latents + answer.tokens_written for answer in answers)
    assert texts(trained, batch_size=1)[1] == written


def test_stock_generate_thinks_from_bot_on(trained):
    """Without a processor of ours in sight, and within the number of new tokens that the model was saved with."""
    model, tokenizer = trained.model, trained.processing_class
    assert model.config.open_thought and model.config.prompt_latents is None
    assert model.generation_config.max_new_tokens == trained.args.max_new_tokens + 7 and new_tokens(model) == 6
    batch = encode_prompts([row.problem.question for row in trained.rows[:4]], tokenizer, None, model.config.template)
    rows = model.generate(**batch)[:, batch["input_ids"].shape[1] :].tolist()
    answers, written = texts(trained)
    for row, answer, own in zip(rows, answers, written, strict=False):
        assert row[: answer.latents + len(own)] == [model.config.latent_token_id] * answer.latents + own


def test_another_factor(trained):
    """Prompts say another number; models whose prompts say none cannot be asked."""
    model, question = trained.model, "1 2"
    template = resolve_template(model.config.template, compression=2)
    batches = [encode_prompts([question], trained.processing_class, None, one) for one in (model.config.template, template)]
    encoder = trained.batches.encoder
    assert batches[1]["input_ids"][0].tolist() == [*encoder.question(question), *encoder.speed(2), encoder.bot]
    assert model.config.template["compression"] == 1
    with pytest.raises(InputError, match="compression=2 has no effect"):
        resolve_template("coconut", compression=2)
    with pytest.raises(InputError, match=r"must hold \{compression\}"):
        Template(speed="fast")


def test_controls(trained):
    """Own latents give the own answers; others change them, and zeros stay within the thought that was had."""
    problems = [row.problem for row in trained.rows]
    model, tokenizer, template = trained.model, trained.processing_class, trained.model.config.template
    own = collect_latents(model, tokenizer, problems, 7, template, batch_size=5)
    answers, written = texts(trained)
    numbers = (~own[..., 0].isnan()).sum(1).tolist()
    assert numbers == [answer.latents for answer in answers]
    again, same = texts(trained, latents=own, numbers=numbers)
    assert same == written and [answer.latents for answer in again] == numbers
    for name, control in {name: CONTROLS[name] for name in CONTROLS.names()}.items():
        changed = control(own, problems, 0)
        lengths = (~changed[..., 0].isnan()).sum(1).tolist()
        assert sorted(lengths) == sorted(numbers) and (name == "shuffle" or lengths == numbers)
        assert (changed.isnan() == changed[..., :1].isnan()).all()
        others, _ = texts(trained, latents=changed, numbers=lengths)
        assert [answer.latents for answer in others] == lengths


def test_what_was_trained_is_what_generates(trained):
    """Over given latents the logits of a prompt are those of the training's view."""
    model, row = trained.model, trained.rows[3]
    batch = trained.batches.batch([3], trained.rows, 0, None)
    view = batch["views"]["latent"]
    needs = Needs(last_hidden=("columns",), latents=True)
    with torch.no_grad():
        found = model(batch["input_ids"], batch["attention_mask"], views=batch["views"], needs=needs)["latent"]
        ids = torch.cat([batch["input_ids"], view["input_ids"]], 1)
        embeds = model.get_input_embeddings()(ids)
        hidden = model.run(ids, torch.ones_like(ids), latents=found.latents).hidden[0, batch["input_ids"].shape[1] - 1 : -1]
    assert len(row.steps) > 1 and embeds.shape[1] > hidden.shape[0]
    assert_close(found.last_hidden["columns"][0], hidden, 1e-9)


def test_saved_and_loaded(trained, tmp_path):
    trained.save_model(str(tmp_path))
    loaded = LatentForCausalLM.from_pretrained(str(tmp_path), dtype=torch.float64).eval()
    assert loaded.config.open_thought and loaded.config.template["compression"] == 1
    batch = encode_prompts(["1 2 3"], trained.processing_class, None, loaded.config.template)
    assert torch.equal(loaded.generate(**batch), trained.model.generate(**batch))


# ---- refused ----


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"feedback": "hidden"}, "it teaches a distribution of the next embedding; take feedback=gaussian"),
        ({"objective": "answer"}, "nothing teaches the feedback; take objective=compression"),
        ({"curriculum": "fixed", "num_latents": 3}, "it needs latents that stand for tokens; take curriculum=compressed"),
        ({"markers": False}, "set markers=True and remaining_steps=inside"),
        ({"remaining_steps": "after"}, "set markers=True and remaining_steps=inside"),
        ({"backprop": "last"}, "whose latents have their inputs in training"),
        ({"rollout": "jacobi"}, "whose latents have their inputs in training"),
        ({"step_decoder": "copy"}, "gives latents their inputs, the tokens themselves"),
        ({"neftune_noise_alpha": 5.0}, "leave neftune_noise_alpha out"),
        ({"speed": "fast"}, "it must hold {compression}"),
        ({"method": "coconut", "speed": "({compression})"}, "whose latents stand for no number of tokens"),
        ({"feedback_options": {"embeds_std": 0.0}}, "embeds_std=0.0 must be above 0"),
        ({"objective_options": {"embedding_loss": "l1"}}, "embedding_loss='l1' is not one of mse, nll"),
        ({"curriculum_options": {"max_compression": 0}}, "max_compression=0 must be at least 1"),
    ],
    ids=lambda value: " ".join(map(str, value.values())) if isinstance(value, dict) else "",
)
def test_refused(tmp_path, changes, says):
    with pytest.raises(InputError) as caught:
        make_trainer(tmp_path, **{**COLAR, **changes})
    assert says in str(caught.value) and len(str(caught.value).splitlines()) == 1


def test_groups_in_a_wrong_place_are_refused():
    class Own(Objective):
        def forward(self, step):
            return {}

    for group in (Group(0, ()), Group(2, (3,)), Group(-1, (3,))):
        view = View([5, 6, 7, 8], [-100, -100, 7, 8], 2, groups=(group,))
        with pytest.raises(InputError, match="give it a token at least and a column before the answer"):
            check_views("objective 'own'", {"latent": view}, Own(), 97)
