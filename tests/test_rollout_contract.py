"""What a rollout is built of: one that nobody has published, on the passes that all share, equals the sequential one."""

from dataclasses import dataclass

import pytest
import torch
from conftest import make_latent, sharpen
from reference import assert_close
from test_masks import measured

from latent_trainer import register_rollout
from latent_trainer.errors import InputError
from latent_trainer.model.configuration import LatentConfig
from latent_trainer.options import Positive
from latent_trainer.rollout import ROLLOUTS
from latent_trainer.rollout.cache import branch
from latent_trainer.rollout.columns import columns_of
from latent_trainer.rollout.contract import Rollout
from latent_trainer.rollout.settings import check_rollout

IDS, MASK = torch.tensor([[5, 6, 98, 97, 97, 99], [0, 8, 98, 97, 99, 7]]), torch.tensor([[1] * 6, [0] + [1] * 5])


@dataclass
class AnewOptions:
    """How often everything is read, the latents of the time before in their places."""

    times: Positive = 4


class Anew(Rollout):
    """Read all columns anew, again and again; each time one more latent of every row is final."""

    Options = AnewOptions
    counts_latents = False

    def fill(self, columns, reading):
        """Read all columns, with every latent filled in."""
        columns.check_latents(columns_of(columns.latent_mask))
        passes, filled = self.passes(columns, reading), columns.embeds
        cache = columns.cache or passes.new_cache()
        for _ in range(self.options.times):
            hidden = passes.one(filled, 0, branch(cache)).last_hidden_state.roll(1, 1)  # (B, T, H)
            if columns.thought is not None:
                hidden = torch.cat([columns.thought[:, None], hidden[:, 1:]], 1)
            filled = torch.where(columns.latent_mask[..., None], passes.think(hidden), columns.embeds)
        output, cache = passes.first(filled, cache, keep=filled.shape[1])
        return passes.joined([output], filled, cache)


@pytest.fixture(autouse=True)
def anew():
    register_rollout("anew", Anew)
    yield
    ROLLOUTS.forget("anew")


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("checkpoint", [False, True])
@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_equals_the_sequential_one(exact_norms, architecture, checkpoint, fast):
    """Both views of a step with up to four latents: losses, hidden states and gradients."""
    values = []
    for rollout in ("sequential", "anew"):
        model = make_latent(architecture, rollout=rollout)
        model.fast = fast
        if checkpoint:
            model.gradient_checkpointing_enable()
        values.append(measured(model)[0])
    for name, expected in values[0].items():
        assert_close(values[1][name], expected)


def test_generation():
    """A thought that is given, and one that goes on from a cache."""
    written, continued = [], []
    for rollout in ("sequential", "anew"):
        model = sharpen(make_latent(rollout=rollout)).eval()
        written.append(model.generate(input_ids=IDS, attention_mask=MASK, max_new_tokens=5, do_sample=False, pad_token_id=0))
        cache = model(input_ids=IDS[:, :4], attention_mask=MASK[:, :4], use_cache=True).past_key_values
        continued.append(model(input_ids=IDS[:, 4:], attention_mask=MASK, past_key_values=cache).logits)
    assert torch.equal(*written)
    assert_close(*continued)


def test_options_are_those_of_its_dataclass():
    assert check_rollout("anew", {"times": 2}, "full") == {"times": 2}
    for options, message in (({"times": 0}, "times=0 must be at least 1"), ({"time": 2}, "has no option 'time'")):
        with pytest.raises(InputError, match=message):
            LatentConfig(rollout="anew", rollout_options=options)
    with pytest.raises(InputError, match="use full or none with rollout=anew"):
        check_rollout("anew", {}, "last")


def test_ranks_that_wait_refuse_it():
    """It runs as many passes as it likes, and the others would wait for ever."""
    runner = make_latent(rollout="anew").runner
    runner.sharded = True
    with pytest.raises(InputError, match="rollout=anew does not run the same passes on all ranks"):
        runner.agree([IDS])
