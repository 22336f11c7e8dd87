"""Padding and company change nothing: a row alone, padded on either side, and in a ragged batch is the same row."""

import pytest
import torch
from conftest import make_latent, sharpen
from reference import assert_close, gradients, taught_by_labels
from scoring import AT_ANSWER

from latent_trainer.data.collator import LatentCollator
from latent_trainer.data.encoding import View, pad_rows
from latent_trainer.methods.feedback import FEEDBACKS

ROW = [5, 6, 7, 98, 97, 97, 99, 20, 21]
SCORED = 2  # the last tokens of ROW
COMPANY = [[8, 98, 97, 97, 97, 97, 99, 22, 23, 24, 25, 26], [9, 10, 11], [12, 13, 14, 15, 98, 97, 99, 27]]
PADS = (0, 33)  # what stands in padding is never read


def labels(row, scored=0):
    return [-100] * (len(row) - scored) + row[len(row) - scored :]


def arrangements():
    """Yield a name and a batch that holds ROW: ids, mask, and labels that score ROW alone."""
    wide = [0] * 7
    for pad in PADS:
        for side in ("left", "right"):
            rows = pad_rows([ROW, [*ROW, *wide]], pad, left=side == "left")
            label = pad_rows([labels(ROW, SCORED), [-100] * (len(ROW) + 7)], -100, left=side == "left")["input_ids"]
            yield f"{side}-padded with {pad}", {name: value[:1] for name, value in rows.items()}, label[:1]
            rows = pad_rows([*COMPANY[:2], ROW, COMPANY[2]], pad, left=side == "left")
            label = [labels(COMPANY[0]), labels(COMPANY[1]), labels(ROW, SCORED), labels(COMPANY[2])]
            yield f"batch {side}-padded with {pad}", rows, pad_rows(label, -100, left=side == "left")["input_ids"]


@pytest.mark.parametrize("feedback", FEEDBACKS)
@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_loss_and_gradients(architecture, feedback, exact_norms):
    model = sharpen(make_latent(architecture, feedback=feedback)).train()
    alone = model(input_ids=torch.tensor([ROW]), labels=torch.tensor([labels(ROW, SCORED)])).loss
    expected = gradients(model, alone)
    assert all(gradient.any() for name, gradient in expected.items() if taught_by_labels(name))
    names = []
    for name, batch, label in arrangements():
        loss = model(**batch, labels=label).loss
        assert_close(loss, alone)
        assert_close(gradients(model, loss), expected)
        names.append(name)
    assert len(names) == 8


@pytest.mark.parametrize("window", ["last", "none"])
def test_truncated_gradients(window):
    """Which latents are constant is a matter of each row, not of the columns that rows share."""
    model = sharpen(make_latent(backprop=window)).train()
    alone = model(input_ids=torch.tensor([ROW]), labels=torch.tensor([labels(ROW, SCORED)])).loss
    expected = gradients(model, alone)
    for _, batch, label in arrangements():
        assert_close(gradients(model, model(**batch, labels=label).loss), expected)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_every_attention(attention):
    """Float32, because eager attention computes its weights in float32 in any model."""
    model = sharpen(make_latent("llama", dtype=torch.float32)).train()
    model.base.set_attn_implementation(attention)
    alone = model(input_ids=torch.tensor([ROW]), labels=torch.tensor([labels(ROW, SCORED)])).loss
    for _, batch, label in arrangements():
        assert_close(model(**batch, labels=label).loss, alone, 1e-5)


@pytest.mark.parametrize("feedback", FEEDBACKS)
@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_greedy_text(architecture, feedback):
    model = sharpen(make_latent(architecture, feedback=feedback)).eval()
    prompt, others = ROW[:-SCORED], [row[:-1] for row in COMPANY]
    settings = {"do_sample": False, "max_new_tokens": 6, "min_new_tokens": 6}
    alone = model.generate(torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt), dtype=torch.long), **settings)
    expected = alone[0, len(prompt) :].tolist()
    for pad in PADS:
        batch = pad_rows([others[0], prompt, *others[1:]], pad, left=True)
        assert model.generate(**batch, **settings)[1, batch["input_ids"].shape[1] :].tolist() == expected
        wide = {name: value[1:2] for name, value in pad_rows([prompt * 2, prompt], pad, left=True).items()}
        assert model.generate(**wide, **settings)[0, -6:].tolist() == expected


def view_row(prompt, thought, steps, answer, scored=True):
    """Return a row of a training batch with both views."""
    views = {}
    for name, given, written in (("latent", thought, answer), ("explicit", [], steps + answer)):
        ids = given + written
        label = [-100] * len(given) + written if scored else [-100] * len(ids)
        views[name] = View(ids, label, len(ids) - len(answer))
    return prompt, views


@pytest.mark.parametrize("feedback", FEEDBACKS)
@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_views(architecture, feedback, exact_norms):
    """The training path pads prompts on the left and continuations on the right; neither shows in losses or gradients."""
    model = sharpen(make_latent(architecture, feedback=feedback)).train()
    row = view_row([5, 6, 7], [98, 97, 97, 99], [30, 31], [20, 21])
    company = [
        view_row([8, 9, 10, 11, 12], [98, 97, 97, 97, 97, 99], [32], [22, 23, 24], scored=False),
        view_row([13], [98, 99], [33, 34, 35, 36, 37], [25], scored=False),
    ]

    def outcome(rows, pad=0):
        outputs = model(**LatentCollator(pad)(rows), needs=AT_ANSWER)
        index = rows.index(row)
        hidden = [torch.stack([layer[index] for layer in output.hidden_states["answer"]]) for output in outputs.values()]
        losses = [output.token_loss for output in outputs.values()]
        loss = sum(losses[0]) + 0.5 * sum(losses[1]) + hidden[0].pow(2).sum() - hidden[1].pow(3).sum()
        return [*losses, *hidden], gradients(model, loss)

    values, expected = outcome([row])
    for pad in PADS:
        for rows in ([company[0], row, company[1]], [row, company[0]], [company[1], row]):
            found, grads = outcome(rows, pad)
            for one, other in zip(found, values, strict=True):
                assert_close(one, other)
            assert_close(grads, expected)
