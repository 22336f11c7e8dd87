"""The cached rollout against a loop that recomputes everything: values, gradients, and the work it does."""

import pytest
import torch
from conftest import make_latent, sharpen
from reference import assert_close, gradients, latent_columns, naive_embeds, naive_loss, same
from scoring import AT_ANSWER

from latent_trainer.compat import CACHE
from latent_trainer.data.collator import LatentCollator
from latent_trainer.data.encoding import View, pad_rows
from latent_trainer.rollout.columns import Columns
from latent_trainer.rollout.reading import Reading
from latent_trainer.rollout.sequential import SequentialRollout

WINDOWS = ["full", "last", "none", 0, 1, 2, 9]
RAGGED = [
    [5, 98, 97, 97, 97, 99, 7, 8],
    [11, 12, 98, 97, 99, 13, 14, 15, 16],
    [21, 22, 23, 24, 25],
    [31, 32, 33, 34, 98, 97, 97, 99],
]
TWO_THOUGHTS = [[5, 98, 97, 97, 99, 7, 98, 97, 99, 9], [6, 7, 8, 98, 97, 97, 97, 99, 9, 98]]
ANYWHERE = [[5, 97, 6, 97, 97, 7], [5, 6, 97, 7, 8, 97], [5, 6, 7, 8, 9, 10]]
ROWS = {"ragged": RAGGED, "two thoughts": TWO_THOUGHTS, "anywhere": ANYWHERE}


def labels_of(rows):
    """Score every token that is written: all but the first, the latents and the begin of thought."""
    return [[-100] + [-100 if token in (97, 98) else token for token in row[1:]] for row in rows]


def batch_of(rows, left=False):
    return pad_rows(rows, 0, left), pad_rows(labels_of(rows), -100, left)["input_ids"]


def record_passes(model) -> list[dict]:
    """Return a list that fills with what every decoder call got: positions, cached positions, gradient mode, mask."""
    passes = []

    def note(module, args, kwargs):
        cache, mask = kwargs[CACHE], kwargs["attention_mask"]
        passes.append(
            {
                "positions": kwargs["inputs_embeds"].shape[1],
                "cached": 0 if cache is None else cache.get_seq_length(),
                "gradient": torch.is_grad_enabled(),
                "mask": mask.shape[-1] if mask is not None else None,
                "dimensions": mask.dim() if mask is not None else None,
            }
        )

    model.get_decoder().register_forward_pre_hook(note, with_kwargs=True)
    return passes


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("rows", ROWS.values(), ids=ROWS)
@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_equals_full_recomputation(architecture, rows, window, exact_norms):
    """Loss and gradients of a padded batch are the sums over rows that are computed alone, without a cache."""
    model = sharpen(make_latent(architecture, backprop=window)).train()
    batch, labels = batch_of(rows)
    ours = model(**batch, labels=labels, num_items_in_batch=1).loss
    naive = naive_loss(model.base, rows, labels_of(rows), same, window)
    assert_close(ours, naive)
    assert_close(gradients(model, ours), gradients(model, naive))


@pytest.mark.parametrize("rows", ROWS.values(), ids=ROWS)
def test_windows_differ(rows):
    """The window changes gradients and nothing else, so a window that is ignored cannot pass for one that works."""
    batch, labels = batch_of(rows)
    losses, norms = [], []
    for window in ("full", 2, "last", "none"):
        model = sharpen(make_latent(backprop=window)).train()
        loss = model(**batch, labels=labels).loss
        losses.append(loss.item())
        norms.append(gradients(model, loss)["base.transformer.h.0.mlp.c_fc.weight"].norm().item())
    assert losses == pytest.approx([losses[0]] * 4, rel=1e-12)
    assert len({round(norm, 8) for norm in norms}) == 4


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_latents_and_every_layer(architecture):
    """Filled embeddings and every layer's hidden states are those of one pass over the filled embeddings."""
    model = sharpen(make_latent(architecture)).eval()
    batch, _ = batch_of(RAGGED)
    output = model.run(**batch, output_hidden_states=True)
    assert len(output.hidden_states) == 3
    for index, row in enumerate(RAGGED):
        embeds = naive_embeds(model.base, row, latent_columns(row))
        expected = model.base.base_model(inputs_embeds=embeds, output_hidden_states=True, use_cache=False)
        assert_close(output.latents[index, : len(row)], embeds[0])
        assert_close(output.hidden[index, : len(row)], expected.last_hidden_state[0])
        for found, layer in zip(output.hidden_states, expected.hidden_states, strict=True):
            assert_close(found[index, : len(row)], layer[0])


@pytest.mark.parametrize("window", ["full", "none"])
def test_continues_a_cache(window):
    """A thought that starts in the first column of a call grows from the cache, with gradients through both calls."""
    model = sharpen(make_latent(backprop=window)).train()
    row, split = [5, 6, 98, 97, 97, 97, 99, 7, 8], 4
    ids, label = torch.tensor([row]), torch.tensor(labels_of([row]))
    first = model(input_ids=ids[:, :split], use_cache=True)
    second = model(input_ids=ids[:, split:], past_key_values=first.past_key_values, use_cache=True)
    assert second.past_key_values.get_seq_length() == len(row)
    logits = torch.cat([first.logits, second.logits], 1)[0, :-1]
    loss = torch.nn.functional.cross_entropy(logits, label[0, 1:], ignore_index=-100, reduction="sum")
    whole = naive_loss(model.base, [row], labels_of([row]), same, window)
    assert_close(loss, whole)
    assert_close(gradients(model, loss), gradients(model, whole))


@pytest.mark.parametrize("window", ["full", "last", "none", 2])
@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_views_equal_full_recomputation(architecture, window, exact_norms):
    """Prompt encoded once, a latent and an explicit continuation: the sums of both are those of separate whole rows."""
    model = sharpen(make_latent(architecture, backprop=window)).train()
    prompts = [[5, 6, 7], [8], [9, 10]]
    thoughts = [[98, 97, 97, 97, 99], [98, 97, 99], [98, 99]]
    answers = [[20, 0], [21, 22, 0], [23, 0]]
    steps = [[30, 31], [32], [33, 34, 35]]
    batch, naive_rows, naive_labels = [], {"latent": [], "explicit": []}, {"latent": [], "explicit": []}
    for prompt, thought, answer, step in zip(prompts, thoughts, answers, steps, strict=True):
        views = {
            "latent": View(thought + answer, [-100] * len(thought) + answer, len(thought)),
            "explicit": View(step + answer, step + answer, len(step)),
        }
        batch.append((prompt, views))
        for name, view in views.items():
            naive_rows[name].append(prompt + view.input_ids)
            naive_labels[name].append([-100] * len(prompt) + view.labels)
    outputs = model(**LatentCollator(0)(batch))
    assert {name: len(output.token_loss) for name, output in outputs.items()} == {"latent": 7, "explicit": 13}
    naive = {name: naive_loss(model.base, naive_rows[name], naive_labels[name], same, window) for name in naive_rows}
    for name, expected in naive.items():
        assert_close(outputs[name].token_loss.sum(), expected)
    ours = gradients(model, outputs["latent"].token_loss.sum() + 0.5 * outputs["explicit"].token_loss.sum())
    assert_close(ours, gradients(model, naive["latent"] + 0.5 * naive["explicit"]))


def test_views_return_the_hidden_states_that_predict_the_answer():
    """One (B, H) tensor a layer, taken at the column before the first answer token of each row and view."""
    model = sharpen(make_latent()).eval()
    rows = [
        ([5, 6, 7], {"latent": View([98, 97, 97, 99, 20], [-100] * 4 + [20], 4), "explicit": View([20], [20], 0)}),
        ([8], {"latent": View([98, 99, 21, 22], [-100, -100, 21, 22], 3), "explicit": View([31, 21], [31, 21], 1)}),
    ]
    outputs = model(**LatentCollator(0)(rows), needs=AT_ANSWER)
    for index, (prompt, views) in enumerate(rows):
        for name, view in views.items():
            row = prompt + view.input_ids
            embeds = naive_embeds(model.base, row, latent_columns(row))
            layers = model.base.base_model(inputs_embeds=embeds, output_hidden_states=True, use_cache=False).hidden_states
            assert len(outputs[name].hidden_states["answer"]) == len(layers) == 3
            for found, layer in zip(outputs[name].hidden_states["answer"], layers, strict=True):
                assert_close(found[index], layer[0, len(prompt) + view.answer_start - 1])


LONE = [5, 6, 98, 97, 97, 97, 97, 99, 7, 8]  # four latents in columns 3 to 6 of ten


@pytest.mark.parametrize("latents", [0, 1, 4])
def test_k_latents_take_k_plus_one_passes_over_t_columns(latents):
    """Every column is computed once; without latents there is one pass and no cache."""
    row = [5, 6, 98, *[97] * latents, 99, 7, 8]
    model = make_latent().train()
    passes = record_passes(model)
    model(input_ids=torch.tensor([row]), labels=torch.tensor(labels_of([row]))).loss.backward()
    assert [one["positions"] for one in passes] == ([3, *[1] * (latents - 1), 4] if latents else [len(row)])
    assert len(passes) == latents + 1 and sum(one["positions"] for one in passes) == len(row)
    assert all(one["gradient"] for one in passes)


def test_ragged_rows_share_passes():
    """A column in which any row has a latent is one pass, however many rows have one there."""
    model = make_latent().train()
    passes = record_passes(model)
    batch, labels = batch_of(RAGGED)
    model(**batch, labels=labels)
    columns = {column for row in RAGGED for column in latent_columns(row)}
    assert len(passes) == len(columns) + 1
    assert sum(one["positions"] for one in passes) == max(map(len, RAGGED))
    assert all(one["mask"] == one["cached"] + one["positions"] for one in passes)


@pytest.mark.parametrize(
    ("window", "without", "with_gradient"),
    [
        # the constant latents: a cached pass up to the first one and one for each that follows; nothing after the last
        # the gradient pass: all columns once, cut before every latent that is not constant
        ("last", [3, 1, 1], [6, 4]),
        (2, [3, 1], [5, 1, 4]),
        ("none", [3, 1, 1, 1], [10]),
        (9, [], [3, 1, 1, 1, 4]),
    ],
)
def test_truncated_gradient_work(window, without, with_gradient):
    """K latents of which W keep their gradient: K - W cached passes without gradient, then W + 1 with it."""
    model = make_latent(backprop=window).train()
    passes = record_passes(model)
    model(input_ids=torch.tensor([LONE]), labels=torch.tensor(labels_of([LONE]))).loss.backward()
    assert [one["positions"] for one in passes if not one["gradient"]] == without
    assert [one["positions"] for one in passes if one["gradient"]] == with_gradient
    assert [one["gradient"] for one in passes] == [False] * len(without) + [True] * len(with_gradient)
    assert sum(with_gradient) == len(LONE)
    for widths in (without, with_gradient):  # every pass builds on the cache of those before
        recorded = [one for one in passes if one["gradient"] == (widths is with_gradient)]
        assert [one["cached"] for one in recorded] == [sum(widths[:index]) for index in range(len(widths))]


def test_no_extra_work_without_gradient():
    """Outside training a window is no reason to compute anything twice."""
    model = make_latent(backprop="last").eval()
    passes = record_passes(model)
    with torch.no_grad():
        model(input_ids=torch.tensor([LONE]))
    assert sum(one["positions"] for one in passes) == len(LONE) and len(passes) == 5


def test_learned_feedback_takes_one_pass():
    model = make_latent(feedback="learned").train()
    passes = record_passes(model)
    batch, labels = batch_of(RAGGED)
    model(**batch, labels=labels).loss.backward()
    assert [one["positions"] for one in passes] == [max(map(len, RAGGED))]


def test_views_encode_the_prompt_once_and_score_labelled_positions_only():
    model = make_latent().train()
    passes, scored = record_passes(model), []
    model.get_output_embeddings().register_forward_hook(lambda module, args, output: scored.append(args[0].shape))
    rows = [
        (
            [5, 6, 7],
            {"latent": View([98, 97, 97, 99, 20, 0], [-100] * 4 + [20, 0], 4), "explicit": View([30, 20], [30, 20], 1)},
        ),
        ([8], {"latent": View([98, 97, 99, 21], [-100] * 3 + [21], 3), "explicit": View([21], [21], 0)}),
    ]
    model(**LatentCollator(0)(rows))
    assert [one["positions"] for one in passes] == [5, 1, 3]  # prompt, bot and the explicit view; a latent; the rest
    assert [one["cached"] for one in passes] == [0, 4, 5]
    assert scored == [(6, 32)]  # three labelled tokens a view


@pytest.mark.parametrize("window", ["full", "last"])
def test_a_latent_in_the_first_column_is_refused(window):
    model = make_latent(backprop=window)
    with pytest.raises(ValueError, match="first column"):
        model(input_ids=torch.tensor([[97, 5, 6], [4, 5, 6]]))


@pytest.mark.parametrize("window", ["full", "none"])
def test_rollout_works_on_tensors_alone(window):
    """The function knows no model class: here a decoder that sums everything up to a column, and feedback that doubles."""
    torch.manual_seed(0)

    class Output:
        hidden_states = None

        def __init__(self, hidden):
            self.last_hidden_state = hidden

    def decoder(inputs_embeds, past_key_values, **kwargs):
        total = inputs_embeds.cumsum(1)
        if past_key_values is not None:
            keys, _ = past_key_values.update(inputs_embeds[:, None], inputs_embeds[:, None], 0)  # (B, 1, P + T, H)
            total = keys[:, 0].cumsum(1)[:, -inputs_embeds.shape[1] :]
        return Output(total)

    embeds = torch.randn(1, 4, 2, dtype=torch.float64, requires_grad=True)
    mask = torch.tensor([[False, True, False, True]])
    columns = Columns(embeds, mask, None, torch.arange(4)[None])
    output = SequentialRollout().fill(columns, Reading(decoder, lambda hidden: 2 * hidden, backprop=window))
    first, third = embeds[0, 0], embeds[0, 2]
    expected = torch.stack([first, 3 * first, 3 * first + third, 9 * first + 3 * third])
    assert_close(output.hidden[0], expected)
    (gradient,) = torch.autograd.grad(output.hidden[0, 3].sum(), embeds)
    through = {"full": [9.0, 0.0, 3.0, 0.0], "none": [1.0, 0.0, 1.0, 0.0]}[window]
    assert gradient[0].tolist() == [[weight, weight] for weight in through]
