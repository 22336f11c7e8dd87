"""The Jacobi rollout against a loop without cache, padding or batch, and against the sequential rollout."""

import pytest
import torch
from conftest import make_latent, sharpen
from reference import assert_close, gradients, latent_columns, same
from test_rollout import ROWS, batch_of, labels_of, record_passes

from latent_trainer import LatentForCausalLM
from latent_trainer.data.collator import LatentCollator
from latent_trainer.data.encoding import View, pad_rows
from latent_trainer.errors import InputError
from latent_trainer.methods.feedback import FEEDBACKS

SEQUENTIAL = [name for name, feedback in FEEDBACKS.items() if feedback.sequential]
MOST = 4  # latents of the longest thought below
LONE = [5, 6, 98, *[97] * MOST, 99, 7, 8]
COMPANY = [LONE, [11, 98, 97, 99, 12], [21, 22, 23, 24], [31, 32, 33, 34, 35, 98, 97, 97, 97, 99, 36]]


def make(architecture="gpt2", iterations=3, tolerance=None, **options) -> LatentForCausalLM:
    rollout_options = {"iterations": iterations} | ({} if tolerance is None else {"tolerance": tolerance})
    return sharpen(make_latent(architecture, rollout="jacobi", rollout_options=rollout_options, **options))


def sequential(model) -> LatentForCausalLM:
    """Return the same model with the sequential rollout; the weights are shared."""
    twin = make_latent(feedback=model.config.feedback, feedback_options=model.config.feedback_options)
    twin.base, twin.feedback = model.base, model.feedback
    return twin.train(model.training)


def naive_jacobi(base, ids, iterations, feedback=same, tolerance=None, window="full"):
    """Return input embeddings (1, T, H) of a row with every latent filled in, and how many iterations changed them."""
    embeds = base.get_input_embeddings()(torch.tensor([ids]))
    columns = latent_columns(ids)
    filled, done = embeds, 0
    for _ in range(iterations if columns else 0):
        hidden = base.base_model(inputs_embeds=filled, use_cache=False).last_hidden_state
        refined = embeds.clone()
        for column in columns:
            latent = feedback(hidden[:, column - 1])
            refined[:, column] = latent if window == "full" else latent.detach()
        if tolerance is not None and done and (refined - filled).abs().max() < tolerance:
            break
        filled, done = refined, done + 1
    return filled, done


def naive_logits(base, ids, iterations, feedback=same, **settings):
    filled, _ = naive_jacobi(base, ids, iterations, feedback, **settings)
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


@pytest.mark.parametrize("iterations", [1, 2, 3])
@pytest.mark.parametrize("left", [False, True], ids=["right", "left"])
@pytest.mark.parametrize("rows", [*ROWS.values(), COMPANY], ids=[*ROWS, "company"])
def test_equals_full_recomputation(rows, left, iterations):
    """Rows with different numbers of latents, with none, padded on either side, with latents next to tokens."""
    model = make(iterations=iterations).train()
    assert_same_training(model, rows, naive_loss(model.base, rows, iterations), left)


@pytest.mark.parametrize("iterations", [1, 3])
def test_equals_full_recomputation_on_llama(iterations, exact_norms):
    model = make("llama", iterations).train()
    assert_same_training(model, COMPANY, naive_loss(model.base, COMPANY, iterations))


@pytest.mark.parametrize("feedback", SEQUENTIAL)
def test_every_feedback(feedback):
    model = make(iterations=2, feedback=feedback).train()
    assert_same_training(model, COMPANY, naive_loss(model.base, COMPANY, 2, model._next_embedding))


def test_iterations_differ():
    """So a number that is ignored cannot pass for one that works."""
    losses = []
    for iterations in range(1, MOST + 1):
        batch, labels = batch_of(COMPANY)
        losses.append(make(iterations=iterations)(**batch, labels=labels).loss.item())
    assert len({round(loss, 9) for loss in losses}) == MOST


@pytest.mark.parametrize("iterations", [MOST, MOST + 3])
@pytest.mark.parametrize("feedback", SEQUENTIAL)
def test_as_many_iterations_as_latents_are_the_sequential_rollout(feedback, iterations):
    model = make(iterations=iterations, feedback=feedback).train()
    batch, labels = batch_of(COMPANY)
    assert_same_training(model, COMPANY, sequential(model)(**batch, labels=labels, num_items_in_batch=1).loss)


@pytest.mark.parametrize("iterations", range(1, MOST + 1))
def test_latents_become_sequential_one_by_one(iterations):
    """After t iterations the first t latents equal the sequential ones, and so does the state that the next grows from."""
    model = make(iterations=iterations).eval()
    batch, _ = batch_of([LONE])
    ours, whole = model.run(**batch), sequential(model).run(**batch)
    first = latent_columns(LONE)[0]
    known = first + iterations  # the first column whose latent is still wrong
    assert_close(ours.latents[:, :known], whole.latents[:, :known])
    assert_close(ours.hidden[:, :known], whole.hidden[:, :known])
    wrong = (ours.latents - whole.latents).abs().amax((0, 2))[known : first + MOST]
    assert (wrong > 1e-6).all()
    # counted with the latent that the state before it stands for, that is the first t + 1
    grown = model._next_embedding(ours.hidden[:, first - 1 : first + MOST - 1])
    assert_close(grown[:, : iterations + 1], whole.latents[:, first : first + MOST][:, : iterations + 1])


def test_no_gradient_through_the_latents():
    model = make(backprop="none").train()
    assert_same_training(model, COMPANY, naive_loss(model.base, COMPANY, 3, window="none"))
    full, none = (gradients(model, naive_loss(model.base, COMPANY, 3, window=window)) for window in ("full", "none"))
    name = "base.transformer.h.0.mlp.c_fc.weight"
    assert (full[name] - none[name]).abs().max() > 1e-6


def test_every_layer():
    """Hidden states of every layer are those of one pass over the filled embeddings."""
    model = make(iterations=2).eval()
    batch, _ = batch_of(COMPANY)
    output = model.run(**batch, output_hidden_states=True)
    assert len(output.hidden_states) == 3
    for index, row in enumerate(COMPANY):
        filled, _ = naive_jacobi(model.base, row, 2)
        expected = model.base.base_model(inputs_embeds=filled, output_hidden_states=True, use_cache=False)
        assert_close(output.latents[index, : len(row)], filled[0])
        for found, layer in zip(output.hidden_states, expected.hidden_states, strict=True):
            assert_close(found[index, : len(row)], layer[0])


def test_views():
    """The training path: prompts on the left, a latent and an explicit continuation on one encoding of the prompt."""
    model = make(iterations=2).train()
    prompts, latents = [[5, 6, 7], [8], [9, 10]], [3, 1, 0]
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
            logits = naive_logits(model.base, ids, 2)[len(prompt) - 1 : -1]
            losses = torch.nn.functional.cross_entropy(logits, torch.tensor(view.labels), reduction="none")
            whole[name].append(losses.sum())
    outputs = model(**LatentCollator(0)(rows))
    ours = outputs["latent"].token_loss.sum() + 0.5 * outputs["explicit"].token_loss.sum()
    naive = sum(whole["latent"]) + 0.5 * sum(whole["explicit"])
    assert_close(ours, naive)
    assert_close(gradients(model, ours), gradients(model, naive))


# ---- the work it does ----


@pytest.mark.parametrize("iterations", [1, 2, 3, 4, 9])
def test_no_pass_reads_what_is_known(iterations):
    """The t-th pass leaves out the t - 1 columns that are final; only the last reads the last latent and what follows."""
    model = make(iterations=iterations).train()
    passes = record_passes(model)
    batch, labels = batch_of([LONE])
    model(**batch, labels=labels).loss.backward()
    before, after, last = LONE.index(97), len(LONE) - LONE.index(99), min(iterations, MOST)
    widths = [before + MOST - 1, *(MOST - number for number in range(1, last)), MOST - (last - 1) + after]
    assert [one["positions"] for one in passes] == widths and len(passes) == last + 1
    assert [one["cached"] for one in passes] == [0, *(before + number for number in range(last))]


def test_one_more_pass_on_a_cache_that_was_handed_in():
    """A cache of fixed size must not see the placeholders, so they are read on a branch of it."""
    model = make(iterations=2).eval()
    passes = record_passes(model)
    batch, _ = batch_of([LONE])
    model.generate(**batch, max_new_tokens=1, do_sample=False)
    assert [one["positions"] for one in passes] == [3, MOST - 1, MOST - 1, MOST + 3]


@pytest.mark.parametrize("latents", [0, 1])
def test_nothing_to_refine(latents):
    """Without latents there is one pass, with a single one there are the two of the sequential rollout."""
    model = make(iterations=3).train()
    rows = [[5, 6, 98, *[97] * latents, 99, 7], [8, 9, 10]]
    assert_same_training(model, rows, naive_loss(model.base, rows, 3))
    passes = record_passes(model)
    batch, labels = batch_of(rows)
    model(**batch, labels=labels)
    assert [one["positions"] for one in passes] == ([5] if latents == 0 else [3, 3])


# ---- tolerance ----

TOLERANCES = [1e-9, 2.0, 3.0]


@pytest.mark.parametrize("tolerance", TOLERANCES)
def test_rows_freeze_independently(tolerance):
    """Every row of a batch stops when it would stop alone; loss, gradients and latents are those of its own iterations."""
    model = make(iterations=9, tolerance=tolerance).train()
    assert_same_training(model, COMPANY, naive_loss(model.base, COMPANY, 9, tolerance=tolerance))
    done = [naive_jacobi(model.base, row, 9, tolerance=tolerance)[1] for row in COMPANY]
    assert len(set(done)) > 2, "all rows stop at once; choose other tolerances"
    output = model.run(**batch_of(COMPANY)[0])
    for index, row in enumerate(COMPANY):
        assert_close(output.latents[index, : len(row)], naive_jacobi(model.base, row, 9, tolerance=tolerance)[0][0])


def test_tolerances_stop_at_different_iterations():
    base = make().base
    assert len({naive_jacobi(base, LONE, 9, tolerance=tolerance)[1] for tolerance in TOLERANCES}) == len(TOLERANCES)


@pytest.mark.parametrize("tolerance", [*TOLERANCES, 1e9, 0.0])
def test_company_changes_nothing(tolerance):
    model = make(iterations=6, tolerance=tolerance).eval()
    alone = model.run(torch.tensor([LONE]), torch.ones(1, len(LONE), dtype=torch.long)).latents
    for rows in (COMPANY, COMPANY[::-1], [LONE, LONE], [LONE, COMPANY[2]]):
        for left in (False, True):
            index = rows.index(LONE)
            batch = pad_rows(rows, 0, left)
            width = batch["input_ids"].shape[1]
            columns = slice(width - len(LONE), None) if left else slice(0, len(LONE))
            assert_close(model.run(**batch).latents[index, columns], alone[0])


def test_a_huge_tolerance_ends_after_the_first_refinement():
    """The second iteration finds every change small enough and is not fed: the latents are those of one iteration."""
    model = make(iterations=9, tolerance=1e9).eval()
    passes = record_passes(model)
    output = model.run(**batch_of(COMPANY)[0])
    assert len(passes) == 3
    assert_close(output.latents, make(iterations=1).eval().run(**batch_of(COMPANY)[0]).latents)


def test_a_tolerance_of_zero_ends_when_all_are_known():
    """With as many iterations as latents."""
    model = make(iterations=9, tolerance=0.0).eval()
    passes = record_passes(model)
    output = model.run(**batch_of([LONE])[0])
    assert len(passes) == MOST + 1
    assert_close(output.latents, sequential(model).run(**batch_of([LONE])[0]).latents)


# ---- generation ----

PROMPTS = [[5, 6, 7, 98, 97, 97, 97, 99], [8, 98, 97, 99], [9, 10, 11, 12], [13, 14, 98, 97, 97, 99, 15, 16]]


@torch.no_grad()
def naive_greedy(base, ids, iterations, new_tokens, **settings) -> list[int]:
    written = []
    while len(written) < new_tokens and 0 not in written:
        logits = naive_logits(base, ids + written, iterations, **settings)[-1]
        logits[[97, 98]] = -torch.inf
        written.append(logits.argmax().item())
    return written


def written(model, prompts, **settings) -> list[list[int]]:
    batch = pad_rows(prompts, 0, left=True)
    found = model.generate(**batch, do_sample=False, max_new_tokens=8, **settings)
    rows = found[:, batch["input_ids"].shape[1] :].tolist()
    return [row[: row.index(0) + 1] if 0 in row else row for row in rows]


@pytest.mark.parametrize(
    "settings",
    [{}, {"cache_implementation": "static"}, {"use_cache": False}],
    ids=["dynamic", "static", "no cache"],
)
@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
@pytest.mark.parametrize("iterations", [1, 2])
def test_greedy_equals_the_naive_loop(architecture, iterations, settings):
    model = make(architecture, iterations).eval()
    expected = [naive_greedy(model.base, prompt, iterations, 8) for prompt in PROMPTS]
    assert written(model, PROMPTS, **settings) == expected


def test_greedy_text_depends_on_the_iterations():
    assert written(make(iterations=1).eval(), PROMPTS) != written(make(iterations=2).eval(), PROMPTS)


@pytest.mark.parametrize("settings", [{}, {"cache_implementation": "static"}], ids=["dynamic", "static"])
def test_greedy_with_a_tolerance(settings):
    model = make(iterations=6, tolerance=1.0).eval()
    expected = [naive_greedy(model.base, prompt, 6, 8, tolerance=1.0) for prompt in PROMPTS]
    assert written(model, PROMPTS, **settings) == expected


@pytest.mark.parametrize("settings", [{}, {"cache_implementation": "static"}], ids=["dynamic", "static"])
def test_prompts_longer_than_a_sliding_window(settings):
    """The window is 16 tokens: thoughts that have it behind themselves, in rows padded more or less, and one before it."""
    model = make("mistral", 2).eval()
    prompts = [[*range(20, 40), 98, 97, 97, 97, 99], [*range(50, 68), 98, 97, 97, 99], [8, 98, 97, 97, 99, *range(40, 58)]]
    for batch in (prompts[:1], prompts[:2], prompts):
        assert written(model, batch, **settings) == [naive_greedy(model.base, prompt, 2, 8) for prompt in batch]


# ---- what is refused ----


@pytest.mark.parametrize("window", ["last", 1])
@pytest.mark.parametrize("row", [LONE, [5, 98, 97, 99, 6], [5, 6]], ids=["many latents", "one latent", "none"])
def test_a_truncated_gradient_is_refused(window, row):
    model = make()
    model.config.backprop = window
    with pytest.raises(InputError, match=f"backprop={window} counts latents one by one.*use full or none"):
        model(input_ids=torch.tensor([row]))


def test_a_truncated_gradient_is_refused_when_a_model_is_made():
    with pytest.raises(InputError, match="backprop=last counts latents one by one"):
        make(backprop="last")


@pytest.mark.parametrize("iterations", [0, -1])
def test_no_iteration_is_refused(iterations):
    with pytest.raises(InputError, match=f"iterations={iterations} must be at least 1"):
        make(iterations=iterations)


def test_options_of_another_rollout_are_refused():
    with pytest.raises(InputError, match="rollout 'sequential' has no option 'iterations'"):
        make_latent(rollout_options={"iterations": 2})


def test_a_latent_in_the_first_column_is_refused():
    with pytest.raises(InputError, match="first column"):
        make()(input_ids=torch.tensor([[97, 97, 5]]))
