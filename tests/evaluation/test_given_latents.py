"""`latents=`: embeddings that stand in for thoughts, in one pass and in `generate`."""

import pytest
import torch
from conftest import make_latent, sharpen
from reference import assert_close, latent_columns

from latent_trainer.data.encoding import pad_rows

PROMPTS = [
    [5, 6, 7, 98, 97, 97, 97, 99],
    [8, 98, 97, 99],
    [9, 10, 11, 12],
    [13, 14, 98, 97, 97, 99, 15, 16],
]
MOST = 3  # latents of a row at most
NEW = 6


def make(**options):
    """Return a model, a left-padded batch and the latents (B, K, H) it thinks, NaN where a row has fewer."""
    model = sharpen(make_latent("gpt2", **options)).eval()
    batch = pad_rows(PROMPTS, 0, left=True)
    with torch.no_grad():
        filled = model.run(batch["input_ids"], batch["attention_mask"]).latents
    own = torch.full((len(PROMPTS), MOST, 32), torch.nan, dtype=torch.float64)
    for row, ids in enumerate(PROMPTS):
        columns = [column - len(ids) for column in latent_columns(ids)]
        own[row, : len(columns)] = filled[row, columns]
    return model, batch, own


OPTIONS = {
    "sequential": {},
    "projection": {"feedback": "projection"},
    "soft": {"feedback": "soft"},
    "jacobi": {"rollout": "jacobi", "rollout_options": {"iterations": 2}},
    "looped": {"rollout": "looped", "rollout_options": {"iterations": 2}},
    "learned": {"feedback": "learned"},
}


@pytest.fixture(params=OPTIONS)
def made(request):
    return make(**OPTIONS[request.param])


def logits(model, batch, latents=None):
    with torch.no_grad():
        return model(**batch, latents=latents).logits[batch["attention_mask"].bool()]


def text(model, batch, latents=None, **settings):
    settings = {"do_sample": False, "max_new_tokens": NEW, **settings}
    return model.generate(**batch, latents=latents, **settings)[:, batch["input_ids"].shape[1] :].tolist()


def test_own_latents_change_nothing(made):
    model, batch, own = made
    assert_close(logits(model, batch, own), logits(model, batch))
    assert text(model, batch, own) == text(model, batch)


def test_other_latents_change_rows_that_think(made):
    model, batch, own = made
    found, intact = (model(**batch, latents=given).logits[:, -1] for given in (0 * own, None))
    changed = (found - intact).abs().amax(-1) > 1e-3
    assert changed.tolist() == [bool(latent_columns(ids)) for ids in PROMPTS]


def test_rows_of_nan_think_themselves(made):
    """A row with other latents and rows without any in one batch: each as if alone."""
    model, batch, own = made
    given = torch.full_like(own, torch.nan)
    assert_close(logits(model, batch, given), logits(model, batch))
    given[0] = own[0].flip(0)
    whole = model(**batch, latents=given).logits
    for row, ids in enumerate(PROMPTS):
        alone = {"input_ids": torch.tensor([ids]), "attention_mask": torch.ones(1, len(ids), dtype=torch.long)}
        assert_close(whole[row, -len(ids) :], model(**alone, latents=given[[row]]).logits[0])


def by_hand(model, ids: list[int], given: torch.Tensor) -> torch.Tensor:
    """Return the logits (T, V) of one row: given latents where they are numbers, each other one thought in its turn."""
    embeds = model.get_input_embeddings()(torch.tensor([ids]))
    for number, column in enumerate(latent_columns(ids)):
        latent = given[number : number + 1] if number < len(given) else torch.full_like(embeds[:, 0], torch.nan)
        if latent.isnan().any():
            hidden = model.base.base_model(inputs_embeds=embeds[:, :column], use_cache=False).last_hidden_state[:, -1]
            latent = model._next_embedding(hidden)
        embeds = torch.cat([embeds[:, :column], latent[:, None], embeds[:, column + 1 :]], 1)
    return model.base(inputs_embeds=embeds, use_cache=False).logits[0]


@pytest.mark.parametrize(
    "options", [{}, {"feedback": "projection"}, {"rollout": "jacobi", "rollout_options": {"iterations": 3}}]
)
@pytest.mark.parametrize("missing", [(1, 2), (0,), (0, 2), (1,)], ids=str)
def test_later_latents_roll_on_from_given_ones(options, missing):
    model, batch, own = make(**options)
    torch.manual_seed(1)
    given = torch.randn_like(own)
    given[:, list(missing)] = torch.nan
    with torch.no_grad():
        found = model(**batch, latents=given).logits
        for row, ids in enumerate(PROMPTS):
            assert_close(found[row, -len(ids) :], by_hand(model, ids, given[row]))


@pytest.mark.parametrize("number", [1, 2, 5])
def test_fewer_or_more_latents_than_a_row_has(number):
    """Latents beyond those given are thought; those beyond a row's own are not used."""
    model, batch, _ = make()
    torch.manual_seed(1)
    given = torch.randn(len(PROMPTS), number, 32, dtype=torch.float64)
    with torch.no_grad():
        found = model(**batch, latents=given).logits
        for row, ids in enumerate(PROMPTS):
            assert_close(found[row, -len(ids) :], by_hand(model, ids, given[row]))


@pytest.mark.parametrize(
    "settings",
    [
        {"num_beams": 3},
        {"num_beams": 3, "num_return_sequences": 3},
        {"num_return_sequences": 4, "do_sample": True, "temperature": 2.0},
        {"use_cache": False},
        {"cache_implementation": "static"},
    ],
    ids=str,
)
def test_generate(settings):
    """Every beam and every returned sequence of a row reads the row's latents; own ones change nothing, others do."""
    model, batch, own = make()

    def written(latents, rows=slice(None)):
        torch.manual_seed(0)
        chosen = {name: value[rows] for name, value in batch.items()}
        return text(model, chosen, latents if latents is None else latents[rows], **settings)

    assert written(own) == written(None)
    other = -3 * own
    assert written(other) != written(None)
    if not settings.get("do_sample"):  # a stream of random numbers serves the whole batch
        number = settings.get("num_return_sequences", 1)
        assert written(other)[:number] == written(other, slice(1))


def test_passes_that_latents_save():
    """Given latents need no passes of their own; each one that is thought needs one."""
    model, batch, own = make()
    passes = []
    model.get_decoder().register_forward_pre_hook(lambda *call: passes.append(1))
    row = {name: value[:1] for name, value in batch.items()}
    for missing in range(MOST + 1):
        given = own[:1].clone()
        given[:, MOST - missing :] = torch.nan
        passes.clear()
        logits(model, row, given)
        assert len(passes) == 1 + missing


def test_a_call_that_continues_a_thought_takes_none():
    model, _, own = make()
    with torch.no_grad():
        for rest in ([[97, 99, 5]], [[5, 6, 7]]):
            row = {"input_ids": torch.tensor([[7, 98, 97]]), "use_cache": True}
            outputs = []
            for latents in (None, 5 * own[:1]):
                cache = model(**row).past_key_values
                outputs.append(model(torch.tensor(rest), past_key_values=cache, use_cache=True, latents=latents).logits)
            assert torch.equal(*outputs)


def test_gradients_reach_given_latents():
    model, batch, own = make()
    given = own[:1].clone().requires_grad_()
    row = {name: value[:1] for name, value in batch.items()}
    model(**row, latents=given).logits[:, -1].sum().backward()
    assert (given.grad.abs().sum(-1) > 0).all()
