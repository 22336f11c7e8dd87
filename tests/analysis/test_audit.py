"""The audit on models that are known to use their latents, or not to; and its numbers against direct computations."""

import json
import random
from dataclasses import replace

import pytest
import torch
from analysis.constructed import KINDS, TEMPLATE, constructed, digits, evaluator, other_digits
from conftest import make_base, sharpen
from training import make_tokenizer, uneven_problems

from latent_trainer import LatentForCausalLM
from latent_trainer.analysis.audit import arms, counterfactual, geometry, parts, reading, steps, verdicts
from latent_trainer.analysis.audit.battery import FORCED, FREE, Battery
from latent_trainer.analysis.audit.checkpoints import over_training
from latent_trainer.data import VARIANTS, Encoder, as_problems, load_problems
from latent_trainer.data.generated import arithmetic
from latent_trainer.data.thought_tokens import add_thought_tokens
from latent_trainer.data.tokenizer import train_tokenizer
from latent_trainer.errors import InputError
from latent_trainer.evaluation.answers import is_equivalent
from latent_trainer.evaluation.generation import generate_answers

KNOWN = {
    "ignores": {"necessary": "no", "specific": "no", "sufficient": "no", "needed given a forced answer": "no"},
    "pause": {"necessary": "no", "specific": "no", "sufficient": "no", "needed given a forced answer": "no"},
    "carries": {"necessary": "yes", "specific": "yes", "sufficient": "yes", "needed given a forced answer": "yes"},
    "writes": {"necessary": "no", "specific": "yes", "sufficient": "yes", "needed given a forced answer": "yes"},
}
ROWS = list(range(0, 90, 3))


def battery(kind: str, **options) -> Battery:
    """Return the battery of a constructed model."""
    return Battery(evaluator(*constructed(kind), **options))


@pytest.fixture(scope="module")
def carrying():
    """Return the battery of the model that answers from its last latent alone, its arms measured."""
    own = battery("carries")
    return own, arms.measure(own)


@pytest.mark.parametrize("kind", KINDS)
def test_known_verdicts(kind, carrying):
    """Necessary, specific, sufficient, needed given a forced answer: what each model was made to be."""
    measured = carrying[1] if kind == "carries" else arms.measure(battery(kind))
    found = verdicts.decide(measured)
    assert measured["free"]["intact"]["accuracy"] > 0.95
    assert {name: one["verdict"] for name, one in found.items()} == KNOWN[kind], found
    for one in found.values():
        assert any(name.startswith("threshold_") for name in one) and "yes where" in one["why"]
        assert one["arm"] == "shuffle" or arms.SHORT.get(one["arm"], one["arm"]) in one["why"]


def test_a_model_that_writes_the_steps_is_unharmed_freely_and_lost_when_forced():
    """What an accuracy alone hides: without latents it is as right as ever, because it then writes the step."""
    measured = arms.measure(battery("writes"))
    assert measured["free"]["removed"]["accuracy"] > 0.95 > 0.5 > measured["forced"]["removed"]["accuracy"]
    assert measured["free"]["removed"]["tokens_written"] > measured["free"]["intact"]["tokens_written"]


def test_every_arm_is_there_and_has_its_numbers(carrying):
    measured = carrying[1]
    names = {"intact", "zero", "noise", "shuffle", "frozen", "orthogonal", "filler", "first", "removed", "keep-1"}
    assert set(measured["free"]) == names and set(measured["forced"]) == {*names, "floor"}
    for rows in (measured["free"], measured["forced"]):
        for name, row in rows.items():
            assert row["unchanged_low"] <= row["unchanged"] <= row["unchanged_high"]
            assert row["difference_low"] <= row["difference"] <= row["difference_high"], name
            assert row["difference"] == pytest.approx(rows["intact"]["accuracy"] - row["accuracy"])
        assert rows["intact"]["unchanged"] == 1 and rows["intact"]["p_value"] == 1


@pytest.mark.parametrize("kind", ["carries", "writes"])
def test_shared_caches_change_no_answer(kind):
    """Freely and forced, every arm gives the answers that `generate_answers` gives alone, question by question."""
    own = battery(kind)
    arms.measure(own)
    for arm in arms.arms(own):
        for mode in (FREE, FORCED):
            given = None if arm.make is None else arm.make()
            size = {"batch_size": 7, "max_new_tokens": own.new_tokens(mode), "latents": given}
            alone = generate_answers(own.model, own.tokenizer, own.problems, arm.num_latents, own.templates[mode], **size)
            assert [one.text for one in own.answers(f"{mode}/{arm.name}")] == [one.text for one in alone], (mode, arm.name)


def test_each_question_is_read_once_and_each_thought_is_thought_once():
    """Counted in columns of the decoder: no arm reads a question again, and none thinks again."""
    own = battery("carries")
    calls = []
    hook = own.model.get_decoder().register_forward_pre_hook(
        lambda part, given, named: calls.append(named["inputs_embeds"].shape[:2]), with_kwargs=True
    )
    try:
        arms.measure(own)
    finally:
        hook.remove()
    question, latents, batches = 2, own.num_latents, 2  # tokens of a question; 90 problems in batches of 45
    read = batches * (1 + 1 + latents)  # the question but its last token; that and <|bot|>; each latent
    assert [shape[1] for shape in calls[: 2 + latents]] == [question - 1, 2, *[1] * latents]
    chosen = arms.arms(own)
    prefix = len(own.encoder.problems(own.problems[:1])[0].answer_prefix)
    prompts = [1 + len(own.encoder.thought(arm.num_latents)) + prefix * forced for arm in chosen for forced in (0, 1)]
    prompts = sorted([*prompts, 1 + prefix] * batches)  # and no thought at all
    rest = [shape[1] for shape in calls if shape[1] > 1 or shape[0] != 45]
    assert sum(sorted(width for width in rest if width > 2)) == sum(width for width in prompts if width > 2)
    written = len(calls) - read - len(prompts)
    assert 0 < written <= batches * (len(chosen) * (5 + own.new_tokens(FORCED) - 1) + own.new_tokens(FORCED))


def test_the_numbers_of_an_arm(carrying):
    """Against counts by hand: unchanged, lost, and answers that follow the donor."""
    own, measured = carrying
    intact, shuffled = own.answers("forced/intact"), own.answers("forced/shuffle")
    donors = arms.donors_of(own.problems, 0)
    assert sorted(donors) == list(range(90)) and all(row != donor for row, donor in enumerate(donors))
    row = measured["forced"]["shuffle"]
    same = [is_equivalent(one.strict, other.strict) for one, other in zip(intact, shuffled, strict=True)]
    assert row["unchanged"] == pytest.approx(sum(same) / 90)
    pairs = [
        (place, donor) for place, donor in enumerate(donors) if own.problems[place].answer != own.problems[donor].answer
    ]
    follows = [shuffled[place].strict == own.problems[donor].answer for place, donor in pairs]
    assert row["pairs"] == len(pairs) and row["follows"] == pytest.approx(sum(follows) / len(pairs))


def test_orthogonal_and_first(carrying):
    own, _ = carrying
    latents = own.thoughts.latents
    found = arms.orthogonal(latents, own.problems, 0)
    torch.testing.assert_close(found.norm(dim=-1), latents.norm(dim=-1))
    assert ((found * latents).sum(-1) / latents.norm(dim=-1) ** 2).abs().max() < 1e-5
    assert torch.equal(arms.orthogonal(latents[4:6], own.problems[4:6], 0), found[4:6])
    assert torch.equal(arms.first_repeated(latents, own.problems, 0)[:, 1], latents[:, 0])


@pytest.mark.parametrize(("number", "first", "last"), [(2, 1, 1), (6, 1, 5), (40, 1, 39)])
def test_lengths(number, first, last):
    found = arms.lengths(number)
    assert (found[0], found[-1]) == (first, last) and len(found) <= arms.MOST_LENGTHS and sorted(set(found)) == found


def test_undecided():
    """An interval on both sides of the threshold, nothing to lose, no latents, nobody to exchange with: each says why."""
    row = {
        "accuracy": 0.5,
        "accuracy_high": 0.6,
        "difference": 0.06,
        "difference_low": 0.01,
        "difference_high": 0.11,
        "p_value": 0.02,
    }
    rows = dict.fromkeys(("intact", *verdicts.WITHOUT, "shuffle", "floor"), row)
    measured = {"free": rows, "forced": rows | {"shuffle": row | {"pairs": 0}}}
    assert {one["verdict"] for one in verdicts.decide(measured).values()} == {"undecided"}
    rows["intact"] = row | {"accuracy": 0.0, "accuracy_high": 0.01}
    assert "nothing to lose" in verdicts.decide(measured)["necessary"]["why"]
    assert "no latents" in verdicts.decide({"free": {"intact": row}, "forced": {"intact": row}})["sufficient"]["why"]


def test_single_steps(carrying):
    """Where the others are kept the last latent alone matters; thought anew, the first moves the last, and so the answer."""
    own, measured = carrying
    found = steps.measure(own, ROWS)
    unchanged = {(row["set_to"], row["latent"], row["others"]): row["unchanged"] for row in found["answers"]}
    for kind in steps.KINDS:
        assert unchanged[kind, 1, "kept"] > 0.9
        assert unchanged[kind, 2, "kept"] == unchanged[kind, 2, "rethought"] < 0.4
        graph = found["graph"][kind]
        assert graph[0][1]["moved"] > 0.1 and graph[1] == [None, None] and graph[0][0] is None
    early = steps.early_decoding(measured, 2)
    assert [point["latents"] for point in early["curve"]] == [0, 1, 2]
    assert early["decodable_from"] == next(one["latents"] for one in early["curve"] if one["accuracy"] > 0.9)


def test_a_latent_set_to_itself_moves_nothing(carrying):
    own, _ = carrying
    batch = next(own.batches(ROWS))
    latents = own.thoughts.latents[batch.rows]
    for place in range(2):
        anew = steps._set(latents, latents, place, "rethought")
        torch.testing.assert_close(steps._think_on(batch, latents, anew, place), latents)


@pytest.mark.parametrize(("kind", "carried"), [("carries", 1), ("ignores", 0), ("pause", 0)])
def test_counterfactuals(kind, carried):
    """The answers of all follow the question; a swapped thought carries the change where the answer is read from it."""
    own = battery(kind)
    arms.measure(own)
    found = counterfactual.measure(own, ROWS, other_digits)
    assert found["pairs"] == len(ROWS) and found["follows"] > 0.95
    for way in ("by_latents", "by_values"):
        assert found[way]["sufficiency"]["share"] == pytest.approx(carried, abs=0.05)
        assert found[way]["necessity"]["share"] == pytest.approx(carried, abs=0.05)
        assert found[way]["selectivity"]["share"] > 0.95


def test_swapping_a_thought_with_its_own_changes_nothing(carrying):
    """The keys and values of a thought, taken out and put back, are those of the model as it is."""
    own, _ = carrying
    batch = next(own.batches(ROWS))
    own_thoughts = counterfactual._swapping(own.problems, {problem.id: row for row, problem in enumerate(own.problems)})
    answers = batch.answer("test/own", FORCED, cache=own_thoughts)
    assert [one.text for one in answers] == [own.answers("forced/intact")[row].text for row in batch.rows]


def test_geometry(carrying):
    """All directions kept give the intact answers; a few steep ones taken out cost more than as many random ones."""
    own, _ = carrying
    found = geometry.measure(own, ROWS)
    assert found["rank"][-1]["unchanged"] > 0.9 and found["rank"][0]["unchanged"] < 0.6
    assert [row["rank"] for row in found["rank"]] == sorted(row["rank"] for row in found["rank"])
    four = next(row for row in found["ablated"] if row["rank"] == 4)
    assert four["accuracy"] < four["random_accuracy"] - 0.3
    assert all(0 <= row["divergence"] <= 1 for row in found["token"]) and len(found["token"]) == 2


def test_gradients_equal_finite_differences(carrying):
    own, _ = carrying
    rows = [3, 50]
    found = geometry.gradients(own, rows)
    order = [row for batch in own.batches(rows) for row in batch.rows]
    encoder = own.encoder
    for place, row in enumerate(order):
        problem = own.problems[row]
        prefix = encoder.problems([problem])[0].answer_prefix
        prompt = [*encoder.question(problem.question), *encoder.thought(2), *prefix]
        ids = torch.tensor([[*prompt, *encoder.problems([problem])[0].answer]])

        start = len(prompt)

        def loss(latents, ids=ids, start=start):
            with torch.no_grad():
                chances = own.model(ids, latents=latents[None]).logits[0].double().log_softmax(-1)
            return -sum(chances[at - 1, ids[0, at]].item() for at in range(start, ids.shape[1]))

        latents = own.thoughts.latents[row]
        direction = found[place] / found[place].norm()
        slope = (loss(latents + 1e-2 * direction) - loss(latents - 1e-2 * direction)) / 2e-2
        assert slope == pytest.approx(found[place].norm().item(), rel=0.05, abs=1e-3)


def test_divergence():
    """Of equal distributions zero, of disjoint ones one bit."""
    one = torch.tensor([[0.5, 0.5, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]]).log()
    other = torch.tensor([[0.0, 0.0, 0.5, 0.5], [1.0, 0.0, 0.0, 0.0]]).log()
    one, other = (part.clamp(min=-100).double() for part in (one, other))
    assert geometry._divergence(one, other) == pytest.approx([1.0, 0.0], abs=1e-6)


def test_area_under_the_curve_equals_scikit_learns():
    from sklearn.metrics import roc_auc_score

    generator = torch.Generator().manual_seed(0)
    scores = torch.randint(6, (60,), generator=generator).numpy()  # with ties
    labels = (torch.rand(60, generator=generator) < 0.4).numpy()
    assert reading.auroc(labels, scores) == pytest.approx(roc_auc_score(labels, scores))


def test_correctness_is_read_off_where_it_is_there():
    """A model whose references are wrong for one digit: latents and question both tell that digit."""
    problems = [one if one.answer not in "345" else type(one)(one.question, one.steps, "0", one.id) for one in digits()]
    own = Battery(evaluator(*constructed("carries"), problems))
    arms.measure(own)
    found = reading.correctness(own)
    assert found["right"] == 63 and found["latents"]["auroc"] > 0.9
    assert found["latents"]["auroc_low"] <= found["latents"]["auroc"] <= found["latents"]["auroc_high"]
    with pytest.raises(InputError, match="10 right and 10 wrong"):
        right = battery("carries")
        arms.measure(right)
        reading.correctness(right)


def test_gold_steps(carrying):
    """The hidden state a step's latent is thought from is read through the model's own head, without a trace in between."""
    own, _ = carrying
    found = reading.gold_steps(own)["latents"]
    assert found[0]["problems"] == 90 and found[1]["problems"] == 0
    ids = torch.tensor([[*own.encoder.question(problem.question), own.encoder.bot] for problem in own.problems])
    with torch.no_grad():
        logits = own.model(ids).logits[:, -1]
    wanted = [own.tokenizer(problem.steps[0], add_special_tokens=False).input_ids[0] for problem in own.problems]
    hits = [token in row for token, row in zip(wanted, logits.topk(5).indices.tolist(), strict=True)]
    assert found[0]["top_5"] == pytest.approx(sum(hits) / 90)


def test_one_latent_and_none(carrying):
    """One line each for what cannot be measured, and the rest is there."""
    said: list[str] = []
    one = Battery(evaluator(*constructed("carries"), num_latents=1))
    record = parts.audit(one, list(parts.PARTS), other_digits, most=20, say=said.append)
    assert [line for line in said if line.startswith("lengths")] and "first" not in record["arms"]["free"]
    assert record["steps"]["graph"]["zero"] == [[None]] and record["geometry"]["rank"]
    said.clear()
    none = Battery(evaluator(*constructed("ignores"), num_latents=0))
    record = parts.audit(none, list(parts.PARTS), other_digits, most=20, say=said.append)
    assert [line.split(":")[0] for line in said] == ["latents"]
    assert record["steps"] is None and record["counterfactual"]["pairs"] == 20
    assert set(record["arms"]["forced"]) == {"intact", "floor"}
    assert {one["verdict"] for one in record["verdicts"].values()} == {"undecided"}
    said.clear()
    wrong = [replace(one, answer=str((int(one.answer) + 5) % 10)) for one in digits()[:20]]
    record = parts.audit(
        Battery(evaluator(*constructed("carries"), wrong)), ["counterfactual"], other_digits, say=said.append
    )
    assert said == ["counterfactual: the model answers none of the 20 questions right, so that nothing can follow"]
    said.clear()
    record = parts.audit(one, ["counterfactual"], None, "dataset 'mine' has no oracle", most=20, say=said.append)
    assert said[-1] == "counterfactual: dataset 'mine' has no oracle" and "counterfactual" not in record
    json.dumps(record)


def test_a_template_that_forces_every_answer(monkeypatch):
    """The prefix stands in every prompt: there is one set of answers, and a line that says so."""
    model, tokenizer = constructed("ignores")
    monkeypatch.setattr(model.config, "template", replace(TEMPLATE, score_answer_prefix=False).to_dict())
    said: list[str] = []
    record = parts.audit(Battery(evaluator(model, tokenizer)), [], say=said.append)
    assert record["arms"]["free"] is record["arms"]["forced"] and [line.split(":")[0] for line in said] == ["free"]
    assert record["arms"]["free"]["intact"]["accuracy"] > 0.95


def test_stories_are_changed():
    """One number of a story: as many tokens, another answer, worked out by the data set itself."""
    stories = as_problems(load_problems("stories", "test", size=20))
    texts = [f"{problem.question} {problem.answer}" for problem in stories]
    tokenizer = train_tokenizer([*texts, " ".join(map(str, range(1000)))], 400)
    add_thought_tokens(tokenizer, "<|bot|>", "<|eot|>")
    encoder = Encoder(tokenizer, "coconut")
    found = [counterfactual._change(encoder, one, VARIANTS["stories"], random.Random(one.id)) for one in stories]
    pairs = [(before, after) for before, after in zip(stories, found, strict=True) if after is not None]
    assert len(pairs) > 15
    for before, after in pairs:
        assert after.answer != before.answer and after.steps != before.steps
        assert len(encoder.question(after.question)) == len(encoder.question(before.question))


def test_over_training():
    rows = over_training([(10, lambda: battery("ignores")), (20, lambda: battery("carries"))])
    assert [row["step"] for row in rows] == [10, 20]
    assert [row["verdicts"]["sufficient"] for row in rows] == ["no", "yes"]
    assert rows[1]["forced"]["shuffle"]["accuracy"] < 0.3 < rows[0]["forced"]["shuffle"]["accuracy"]


def test_changed_chains():
    """Another number in a chain of arithmetic: worked out anew, its own where nothing changes, refused where none can be."""
    for problem in as_problems(load_problems("arithmetic", "test", size=20, operations=4)):
        start, *words = problem.question.split()
        assert arithmetic.changed(problem, 0, int(start)) == problem
        assert arithmetic.changed(problem, 2, int(words[1][1:])) == problem
        other = arithmetic.changed(problem, 0, (int(start) + 1) % 10)
        assert other.answer == arithmetic.continued(problem, 0, other.steps[0]) != problem.answer
        for place, value in ((9, 1), (0, 10), (1, 0)):
            with pytest.raises(InputError):
                arithmetic.changed(problem, place, value)


@pytest.mark.parametrize(
    ("architecture", "rollout"),
    [("llama", "sequential"), ("gemma2", "sequential"), ("gpt2", "jacobi")],
)
def test_uneven_questions_from_shared_caches(architecture, rollout):
    """Questions of one to five words, rotary positions, windows, several passes: answers are those given alone."""
    tokenizer = make_tokenizer()
    dtype = torch.float32 if architecture == "gemma2" else torch.float64  # Gemma 2 attends in float32
    base = make_base(architecture, vocab_size=len(tokenizer), dtype=dtype)
    model = sharpen(LatentForCausalLM.from_base(base, tokenizer=tokenizer, rollout=rollout)).eval()
    model.config.template, model.config.num_latents = TEMPLATE.to_dict(), 3
    own = Battery(evaluator(model, tokenizer, uneven_problems(11), batch_size=4))
    arms.measure(own)
    for arm in arms.arms(own):
        for mode in (FREE, FORCED):
            given = None if arm.make is None else arm.make()
            size = {"batch_size": 3, "max_new_tokens": own.new_tokens(mode), "latents": given}
            alone = generate_answers(model, tokenizer, own.problems, arm.num_latents, own.templates[mode], **size)
            assert [one.text for one in own.answers(f"{mode}/{arm.name}")] == [one.text for one in alone], (mode, arm.name)
    if counterfactual.values_fault(own) is None:
        swap = counterfactual._swapping(own.problems, {problem.id: row for row, problem in enumerate(own.problems)})
        for batch in own.batches():
            batch.answer("test/own", FORCED, cache=swap)
        assert [one.text for one in own.answers("test/own")] == [one.text for one in own.answers("forced/intact")]
    else:
        assert architecture == "gemma2"  # whose layers with windows forget columns
