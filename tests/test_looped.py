"""The looped rollout against a loop without cache, padding or batch."""

import itertools

import pytest
import torch
from conftest import make_latent, sharpen
from reference import assert_close, gradients, latent_columns, same
from test_jacobi import COMPANY, LONE, MOST, PROMPTS, SEQUENTIAL, written
from test_rollout import ROWS, batch_of, labels_of, record_passes

from latent_trainer import LatentForCausalLM
from latent_trainer.data.collator import LatentCollator
from latent_trainer.data.encoding import View
from latent_trainer.errors import InputError
from latent_trainer.model.thinking import ThinkingProcessor

STAGE = {"iterations": "stage", "latents_per_step": 2}


def make(architecture="gpt2", iterations=3, injection="add", **options) -> LatentForCausalLM:
    rollout_options = STAGE if iterations == "stage" else {"iterations": iterations}
    rollout_options = {**rollout_options, "injection": injection}
    return sharpen(make_latent(architecture, rollout="looped", rollout_options=rollout_options, **options))


def longest_thought(ids) -> int:
    """Return the latents of a row's longest run of them."""
    columns = set(latent_columns(ids))
    runs = itertools.groupby(range(len(ids)), lambda column: column in columns)
    return max((len(list(run)) for thinks, run in runs if thinks), default=0)


def naive_looped(base, ids, iterations, feedback=same, injection="add", window="full"):
    """Return input embeddings (1, T, H) of a row with every latent filled in."""
    embeds = base.get_input_embeddings()(torch.tensor([ids]))
    iterations = -(-longest_thought(ids) // STAGE["latents_per_step"]) if iterations == "stage" else iterations
    filled = embeds
    for _ in range(iterations):
        hidden = base.base_model(inputs_embeds=filled, use_cache=False).last_hidden_state
        refined = embeds.clone()
        for column in latent_columns(ids):
            latent = feedback(hidden[:, column])
            latent = embeds[:, column] + latent if injection == "add" else latent
            refined[:, column] = latent if window == "full" else latent.detach()
        filled = refined
    return filled


def naive_logits(base, ids, iterations, feedback=same, **settings):
    filled = naive_looped(base, ids, iterations, feedback, **settings)
    return base(inputs_embeds=filled, use_cache=False).logits[0]


def naive_loss(base, rows, iterations, feedback=same, **settings):
    """Return the sum of the cross-entropies of all labelled tokens of all rows."""
    total = 0.0
    for ids, label in zip(rows, labels_of(rows), strict=True):
        logits = naive_logits(base, ids, iterations, feedback, **settings)[:-1]
        label = torch.tensor(label)[1:]
        total += torch.nn.functional.cross_entropy(logits, label, ignore_index=-100, reduction="sum")
    return total


def assert_same_training(model, rows, expected, left=False):
    """Assert that loss and gradients of a padded batch are those of ``expected``, a loss over the same weights."""
    batch, labels = batch_of(rows, left)
    ours = model(**batch, labels=labels, num_items_in_batch=1).loss
    assert_close(ours, expected)
    assert_close(gradients(model, ours), gradients(model, expected))


# ---- values and gradients ----


@pytest.mark.parametrize("iterations", [1, 2, "stage"])
@pytest.mark.parametrize("left", [False, True], ids=["right", "left"])
@pytest.mark.parametrize("rows", [*ROWS.values(), COMPANY], ids=[*ROWS, "company"])
def test_equals_full_recomputation(rows, left, iterations):
    """Rows with different numbers of latents, with none, with two thoughts, padded on either side."""
    model = make(iterations=iterations).train()
    assert_same_training(model, rows, naive_loss(model.base, rows, iterations), left)


@pytest.mark.parametrize("fast", [False, True], ids=["plain", "fast"])
@pytest.mark.parametrize("injection", ["add", "replace"])
@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_both_injections(architecture, injection, fast, exact_norms):
    model = make(architecture, 3, injection).train()
    model.fast = fast
    assert_same_training(model, COMPANY, naive_loss(model.base, COMPANY, 3, injection=injection))


@pytest.mark.parametrize("feedback", [*SEQUENTIAL, "norm"])
def test_every_feedback(feedback):
    """What a feedback makes of a column's own state is added to the placeholder."""
    options = {"feedback_options": {"norm": "embedding"}} if feedback == "norm" else {}
    model = make(iterations=2, feedback="hidden" if feedback == "norm" else feedback, **options).train()
    assert_same_training(model, COMPANY, naive_loss(model.base, COMPANY, 2, model._next_embedding))


def test_iterations_and_injections_differ():
    """So an option that is ignored cannot pass for one that works."""
    losses = []
    for iterations, injection in itertools.product((1, 2, 3, 4, "stage"), ("add", "replace")):
        batch, labels = batch_of(COMPANY)
        losses.append(make(iterations=iterations, injection=injection)(**batch, labels=labels).loss.item())
    assert len({round(loss, 9) for loss in losses}) == len(losses)


@pytest.mark.parametrize("injection", ["add", "replace"])
def test_no_gradient_through_the_latents(injection):
    model = make(injection=injection, backprop="none").train()
    settings = {"injection": injection, "window": "none"}
    assert_same_training(model, COMPANY, naive_loss(model.base, COMPANY, 3, **settings))
    full, none = (gradients(model, naive_loss(model.base, COMPANY, 3, window=window)) for window in ("full", "none"))
    name = "base.transformer.h.0.mlp.c_fc.weight"
    assert (full[name] - none[name]).abs().max() > 1e-6


@pytest.mark.parametrize("iterations", [2, "stage"])
def test_every_layer(iterations):
    """Hidden states of every layer are those of one pass over the filled embeddings: of the last iteration."""
    model = make(iterations=iterations).eval()
    batch, _ = batch_of(COMPANY)
    output = model.run(**batch, output_hidden_states=True)
    assert len(output.hidden_states) == 3
    for index, row in enumerate(COMPANY):
        filled = naive_looped(model.base, row, iterations)
        expected = model.base.base_model(inputs_embeds=filled, output_hidden_states=True, use_cache=False)
        assert_close(output.latents[index, : len(row)], filled[0])
        assert_close(output.hidden[index, : len(row)], expected.last_hidden_state[0])
        for found, layer in zip(output.hidden_states, expected.hidden_states, strict=True):
            assert_close(found[index, : len(row)], layer[0])


@pytest.mark.parametrize("iterations", [2, "stage"])
@pytest.mark.parametrize("checkpointing", [False, True], ids=["kept", "recomputed"])
@pytest.mark.parametrize("fast", [False, True], ids=["plain", "fast"])
def test_views(fast, checkpointing, iterations):
    """The training path: prompts on the left, a latent and an explicit continuation on one encoding of the prompt."""
    model = make(iterations=iterations).train()
    model.fast = fast
    if checkpointing:
        model.gradient_checkpointing_enable()
    prompts, latents = [[5, 6, 7], [8], [9, 10]], [4, 1, 0]
    rows, whole = [], {"latent": [], "explicit": []}
    for number, (prompt, count) in enumerate(zip(prompts, latents, strict=True)):
        thought = [98, *[97] * count, 99]
        views = {
            "latent": View([*thought, 20 + number], [-100] * len(thought) + [20 + number], len(thought)),
            "explicit": View([30, 20 + number], [30, 20 + number], 1),
        }
        rows.append((prompt, views))
        for name, view in views.items():
            ids = prompt + view.input_ids
            logits = naive_logits(model.base, ids, iterations)[len(prompt) - 1 : -1]
            losses = torch.nn.functional.cross_entropy(logits, torch.tensor(view.labels), reduction="none")
            whole[name].append(losses.sum())
    outputs = model(**LatentCollator(0)(rows))
    ours = outputs["latent"].token_loss.sum() + 0.5 * outputs["explicit"].token_loss.sum()
    naive = sum(whole["latent"]) + 0.5 * sum(whole["explicit"])
    assert_close(ours, naive)
    assert_close(gradients(model, ours), gradients(model, naive))


@pytest.mark.parametrize("iterations", [2, "stage"])
def test_given_latents(iterations):
    """Some latents given and the others refined: a thought is as long as it is, whoever fills it."""
    model = make(iterations=iterations).eval()
    ids = torch.tensor([LONE])
    own = model.run(ids, torch.ones_like(ids))
    columns = latent_columns(LONE)
    given = own.latents[:, columns].clone()
    assert_close(model(input_ids=ids, latents=given).logits, model(input_ids=ids).logits)
    given[:, 0] = torch.nan  # nothing stands between it and the prompt, so that it is refined as before
    assert_close(model(input_ids=ids, latents=given).logits, model(input_ids=ids).logits)


# ---- the work it does ----


@pytest.mark.parametrize("iterations", [1, 2, 3, "stage"])
def test_the_prompt_is_read_once(iterations):
    """R + 1 passes over the latents; the first reads the prompt with them, the last what follows."""
    model = make(iterations=iterations).train()
    passes = record_passes(model)
    batch, labels = batch_of([LONE])
    model(**batch, labels=labels).loss.backward()
    before, after = LONE.index(97), len(LONE) - LONE.index(99)
    number = 2 if iterations == "stage" else iterations
    assert [one["positions"] for one in passes] == [before + MOST, *[MOST] * (number - 1), MOST + after]
    assert [one["cached"] for one in passes] == [0, *[before] * number]


def test_a_row_that_is_done_waits():
    """By stage, a row of one latent has one iteration whoever stands beside it."""
    model = make(iterations="stage").eval()
    batch, _ = batch_of(COMPANY)
    together = model.run(**batch)
    for index, row in enumerate(COMPANY):
        passes = record_passes(model)
        alone = model.run(torch.tensor([row]), torch.ones(1, len(row), dtype=torch.long))
        assert len(passes) == 1 + -(-longest_thought(row) // 2)
        assert_close(together.latents[index, : len(row)], alone.latents[0])
    assert sorted({longest_thought(row) for row in COMPANY}) == [0, 1, 3, 4]


# ---- generation ----


@torch.no_grad()
def naive_greedy(base, ids, iterations, new_tokens) -> list[int]:
    written = []
    while len(written) < new_tokens and 0 not in written:
        logits = naive_logits(base, ids + written, iterations)[-1]
        logits[[97, 98]] = -torch.inf
        written.append(logits.argmax().item())
    return written


@pytest.mark.parametrize(
    "settings",
    [{}, {"cache_implementation": "static"}, {"use_cache": False}],
    ids=["dynamic", "static", "no cache"],
)
@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
@pytest.mark.parametrize("iterations", [2, "stage"])
def test_greedy_equals_the_naive_loop(architecture, iterations, settings):
    model = make(architecture, iterations).eval()
    expected = [naive_greedy(model.base, prompt, iterations, 8) for prompt in PROMPTS]
    assert written(model, PROMPTS, **settings) == expected


@pytest.mark.parametrize("settings", [{}, {"cache_implementation": "static"}], ids=["dynamic", "static"])
def test_prompts_longer_than_a_sliding_window(settings):
    """The window is 16 tokens: thoughts that have it behind themselves, and one before it."""
    model = make("mistral", 2).eval()
    prompts = [[*range(20, 40), 98, 97, 97, 97, 99], [*range(50, 68), 98, 97, 97, 99], [8, 98, 97, 97, 99, *range(40, 58)]]
    assert written(model, prompts, **settings) == [naive_greedy(model.base, prompt, 2, 8) for prompt in prompts]


def test_a_cache_that_was_handed_in():
    """The text before a thought may be in a cache; the thought itself is read in one call."""
    model = make().eval()
    start = torch.tensor([LONE[:2]])
    with torch.no_grad():
        cache = model(input_ids=start, use_cache=True).past_key_values
        found = model(input_ids=torch.tensor([LONE[2:]]), past_key_values=cache, use_cache=True)
        assert_close(found.logits[0], naive_logits(model.base, LONE, 3)[2:])
        assert cache.get_seq_length() == len(LONE)


# ---- what is refused ----


@pytest.mark.parametrize("held", [LONE[:3], LONE[:5]], ids=["before the thought", "within it"])
def test_a_thought_cut_by_a_cache_is_refused(held):
    model = make().eval()
    cache = model(input_ids=torch.tensor([held]), use_cache=True).past_key_values
    with pytest.raises(InputError, match="computes the latents of a thought together") as caught:
        model(input_ids=torch.tensor([LONE[len(held) :]]), past_key_values=cache)
    assert len(str(caught.value).splitlines()) == 1


def test_a_thought_that_grows_is_refused():
    """A processor that decides how long a row thinks would compute latent after latent."""
    model = make().eval()
    processor = ThinkingProcessor(model.config, 3)
    with pytest.raises(InputError, match="computes the latents of a thought together"):
        model.generate(torch.tensor([[5, 6, 98]]), logits_processor=[processor], max_new_tokens=5, do_sample=False)


@pytest.mark.parametrize("window", ["last", 1])
def test_a_truncated_gradient_is_refused(window):
    model = make()
    model.config.backprop = window
    with pytest.raises(InputError, match=f"backprop={window} counts latents one by one.*use full or none"):
        model(input_ids=torch.tensor([LONE]))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"iterations": "stage"}, "rollout_options.iterations=stage needs rollout_options.latents_per_step"),
        ({"iterations": "stages"}, "iterations='stages'"),
        ({"iterations": 0}, "iterations=0 must be at least 1"),
        ({"injection": "mean"}, "injection='mean' is not one of add, replace"),
        ({"iterations": "stage", "latents_per_step": 0}, "latents_per_step=0 must be at least 1"),
    ],
    ids=str,
)
def test_options_are_checked_when_a_model_is_made(options, says):
    with pytest.raises(InputError, match=says):
        make_latent(rollout="looped", rollout_options=options)


def test_a_latent_in_the_first_column_is_refused():
    with pytest.raises(InputError, match="first column"):
        make()(input_ids=torch.tensor([[97, 97, 5]]))
