"""Packed rows: every document is what it is alone, whatever says where it begins."""

import pytest
import torch
from conftest import make_latent
from reference import assert_close, gradients
from transformers import DataCollatorWithFlattening

from latent_trainer.errors import InputError

DOCUMENTS = [[5, 6, 98, 97, 97, 99, 8], [9, 98, 97, 99, 11], [12, 13, 14], [7, 98, 97, 97, 97, 99, 20, 21]]
LENGTHS = [len(document) for document in DOCUMENTS]
IDS = torch.tensor([[token for document in DOCUMENTS for token in document]])
POSITIONS = torch.tensor([[column for length in LENGTHS for column in range(length)]])
BOUNDARIES = torch.tensor([0, *torch.tensor(LENGTHS).cumsum(0)], dtype=torch.int32)
NUMBERS = torch.tensor([[at for at, length in enumerate(LENGTHS) for _ in range(length)]])
FLASH = {"cu_seq_lens_q": BOUNDARIES, "cu_seq_lens_k": BOUNDARIES, "max_length_q": 8, "max_length_k": 8}
WAYS = {
    "positions": {"position_ids": POSITIONS},
    "positions that start at 2": {"position_ids": POSITIONS + 2},
    "beside a mask": {"position_ids": POSITIONS, "attention_mask": torch.ones_like(IDS)},
    "flash arguments": FLASH,
    "both": {"position_ids": POSITIONS, **FLASH},
    "numbers": {"seq_idx": NUMBERS},
}


def alone(model, **options):
    """Return the outputs of every document in a row of its own."""
    return [model(input_ids=torch.tensor([document]), use_cache=False, **options) for document in DOCUMENTS]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("architecture", ["gpt2", "llama", "mistral"])
def test_documents_are_what_they_are_alone(architecture, way):
    model = make_latent(architecture).eval()
    first = 2 if way == "positions that start at 2" else 0
    expected = [
        model(torch.tensor([document]), position_ids=torch.arange(first, first + length)[None], use_cache=False).logits
        for document, length in zip(DOCUMENTS, LENGTHS, strict=True)
    ]
    assert_close(model(IDS, **WAYS[way]).logits, torch.cat(expected, 1))


@pytest.mark.parametrize("second", [0, 3], ids=["the same", "a gap"])
def test_positions_that_do_not_go_on_by_one_begin_a_document(second):
    """Where they stay or leave a gap, too: a document of one column is followed by one that begins anywhere."""
    model, positions = make_latent("gpt2").eval(), [0, *range(second, second + 5)]
    packed = model(torch.tensor([[4, *DOCUMENTS[1]]]), position_ids=torch.tensor([positions])).logits
    parts = [([4], positions[:1]), (DOCUMENTS[1], positions[1:])]
    single = [model(torch.tensor([ids]), position_ids=torch.tensor([at]), use_cache=False).logits for ids, at in parts]
    assert_close(packed, torch.cat(single, 1))


@pytest.mark.parametrize("options", [{}, {"rollout": "jacobi", "rollout_options": {"iterations": 5}}, {"feedback": "soft"}])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_loss_gradient_and_every_layer(options, attention):
    model = make_latent("gpt2", **options)
    model.set_attn_implementation(attention)
    labels = IDS.clone()
    labels[0, BOUNDARIES[:-1].long()] = -100  # nothing predicts the first token of a document
    packed = model(IDS, position_ids=POSITIONS, labels=labels, output_hidden_states=True)
    outputs = alone(model, output_hidden_states=True)
    for layer, parts in zip(packed.hidden_states, zip(*(one.hidden_states for one in outputs), strict=True), strict=True):
        assert_close(layer, torch.cat(parts, 1))
    scored = sum(length - 1 for length in LENGTHS)
    loss = sum(model(torch.tensor([one]), labels=torch.tensor([one]), num_items_in_batch=scored).loss for one in DOCUMENTS)
    assert_close(packed.loss, loss)
    assert_close(gradients(model, packed.loss), gradients(model, loss))


def test_several_packed_rows_with_padding():
    model = make_latent("llama").eval()
    ids = torch.cat([IDS, IDS.flip(0).roll(0, 1)])
    positions, mask = POSITIONS.repeat(2, 1), torch.ones_like(ids)
    mask[1, -8:] = 0  # the last document of the second row is padding
    found = model(ids, position_ids=positions, attention_mask=mask).logits
    expected = torch.cat([output.logits for output in alone(model)], 1)
    assert_close(found[0], expected[0])
    assert_close(found[1, :-8], expected[0, :-8])


@pytest.mark.parametrize("flash", [False, True])
def test_the_stock_collator(flash):
    model = make_latent("gpt2")
    collator = DataCollatorWithFlattening(return_flash_attn_kwargs=flash, return_seq_idx=flash)
    batch = collator([{"input_ids": document} for document in DOCUMENTS], return_tensors="pt")
    scored = sum(length - 1 for length in LENGTHS)
    expected = sum(
        model(torch.tensor([one]), labels=torch.tensor([one]), num_items_in_batch=scored).loss for one in DOCUMENTS
    )
    assert_close(model(**batch).loss, expected)


def test_the_backbone_packs_too():
    model = make_latent("gpt2").eval()
    hidden = model.base_model(IDS, position_ids=POSITIONS).last_hidden_state
    assert_close(model.logits_of(hidden), torch.cat([output.logits for output in alone(model)], 1))


def test_a_row_that_is_one_document_keeps_its_cache():
    model = make_latent("gpt2").eval()
    row = torch.tensor([DOCUMENTS[0]])
    one = {
        "cu_seq_lens_q": torch.tensor([0, 7]),
        "cu_seq_lens_k": torch.tensor([0, 7]),
        "max_length_q": 7,
        "max_length_k": 7,
    }
    output = model(row, position_ids=torch.arange(7)[None], **one)
    assert output.past_key_values.get_seq_length() == 7
    assert_close(output.logits, model(row).logits)


def test_positions_with_gaps_under_a_mask_are_one_document():
    model = make_latent("llama").eval()
    row, positions = torch.tensor([DOCUMENTS[0]]), torch.tensor([[0, 1, 4, 5, 9, 10, 20]])
    gaps = model(row, position_ids=positions, attention_mask=torch.ones_like(row), output_hidden_states=True)
    filled = gaps.hidden_states[0]
    expected = model.base(inputs_embeds=filled, position_ids=positions, attention_mask=torch.ones_like(row)).logits
    assert_close(gaps.logits, expected)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"position_ids": POSITIONS, "use_cache": True}, "use_cache cannot be combined with packed rows"),
        (
            {"position_ids": POSITIONS, "latents": torch.zeros(1, 2, 32).double()},
            "latents cannot be combined with packed rows",
        ),
        ({"position_ids": POSITIONS, "seq_idx": torch.arange(23)[None] // 12}, "position_ids and seq_idx name different"),
        (
            {"position_ids": POSITIONS, "attention_mask": torch.ones(1, 1, 23, 23).bool().tril(), **FLASH},
            "4-D attention_mask",
        ),
        ({**FLASH, "max_length_q": 7}, "max_length_q=7, but a packed document has 8 columns"),
        ({"cu_seq_lens_q": torch.tensor([0, 7, 22])}, "cu_seq_lens_q must rise from 0 to the 23 columns"),
    ],
)
def test_what_goes_with_no_packed_row(arguments, says):
    with pytest.raises(InputError, match=says) as refusal:
        make_latent("gpt2").eval()(IDS, **arguments)
    assert "\n" not in str(refusal.value)


def test_a_document_does_not_go_on_after_a_cache():
    model = make_latent("gpt2").eval()
    cache = model(torch.tensor([DOCUMENTS[0]])).past_key_values
    with pytest.raises(InputError, match="cannot be combined with a cache"):
        model(torch.tensor([[9, 10, 11]]), position_ids=torch.tensor([[7, 0, 1]]), past_key_values=cache)


def test_a_document_that_begins_with_a_latent():
    ids = torch.tensor([[5, 98, 97, 99, 97, 8]])
    with pytest.raises(InputError, match="a latent stands in the first column"):
        make_latent("gpt2")(ids, position_ids=torch.tensor([[0, 1, 2, 3, 0, 1]]))
