"""Controls: what each puts in place of the latents, and that nothing else changes."""

import pytest
import torch
from conftest import make_base, sharpen
from reference import assert_close, naive_embeds
from training import make_tokenizer, uneven_problems

from latent_trainer import LatentForCausalLM
from latent_trainer.data.encoding import Encoder
from latent_trainer.errors import InputError
from latent_trainer.evaluation.controls import CONTROLS, check_controls, collect_latents
from latent_trainer.evaluation.generation import generate_answers

NUMBER, LATENTS = 9, 3


@pytest.fixture(scope="module")
def made():
    """Return a model, its tokenizer, problems of uneven length and the latents the model thinks of them."""
    tokenizer = make_tokenizer()
    base = make_base("llama", vocab_size=len(tokenizer))
    model = sharpen(LatentForCausalLM.from_base(base, tokenizer=tokenizer)).train()
    problems = uneven_problems(NUMBER)
    return model, tokenizer, problems, collect_latents(model, tokenizer, problems, LATENTS, "plain", batch_size=4)


def test_collected_latents_are_the_thoughts(made, exact_norms):
    """Row by row without cache or padding; the model is left in the mode it was in."""
    model, tokenizer, problems, _ = made
    found = collect_latents(model, tokenizer, problems, LATENTS, "plain", batch_size=4)
    assert found.shape == (NUMBER, LATENTS, 32) and model.training
    encoder = Encoder(tokenizer, "plain")
    for row, problem in enumerate(problems):
        ids = encoder.prompt(problem.question, LATENTS)
        columns = [column for column, token in enumerate(ids) if token == encoder.latent]
        with torch.no_grad():
            assert_close(found[row], naive_embeds(model.base, ids, columns)[0, columns])


def test_zero(made):
    *_, problems, latents = made
    assert torch.equal(CONTROLS["zero"](latents, problems, 0), torch.zeros_like(latents))


def test_noise(made):
    """Directions of the problem's own and the seed's, of the same lengths, whichever problems are asked about together."""
    *_, problems, latents = made
    found = CONTROLS["noise"](latents, problems, 0)
    assert_close(found.norm(dim=-1), latents.norm(dim=-1))
    assert torch.equal(CONTROLS["noise"](latents[4:6], problems[4:6], 0), found[4:6])
    other = CONTROLS["noise"](latents, problems, 1)
    same_question = CONTROLS["noise"](latents[[2, 2]], [problems[2], problems[3]], 0)
    directions = torch.nn.functional.normalize(torch.cat([found, other, same_question[1:]]).flatten(0, 1), dim=-1)
    likeness = (directions @ directions.T).fill_diagonal_(0)[:-LATENTS]
    assert likeness.abs().max() > 0.9  # the last three rows are problem 3 again
    assert (likeness[:, :-LATENTS].abs() < 0.9).all()
    own = (found * latents).sum(-1) / latents.norm(dim=-1) ** 2
    assert own.abs().max() < 0.7


@pytest.mark.parametrize("number", [2, 3, 9, 50])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_shuffle_is_one_cycle(number, seed):
    """Everybody gets another one's latents, whole; following the donors from anywhere passes everybody once."""
    latents = torch.arange(number).float()[:, None, None].expand(number, 2, 3) + torch.arange(2)[:, None] / 2
    found = CONTROLS["shuffle"](latents, uneven_problems(number), seed)
    assert torch.equal(found[:, 1], found[:, 0] + 0.5)
    donors = found[:, 0, 0].long().tolist()
    place, seen = 0, []
    for _ in range(number):
        seen.append(place)
        place = donors[place]
    assert place == 0 and sorted(seen) == list(range(number))


def test_shuffle_depends_on_the_seed(made):
    *_, problems, latents = made
    first, again, other = (CONTROLS["shuffle"](latents, problems, seed) for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_frozen(made):
    *_, problems, latents = made
    found = CONTROLS["frozen"](latents, problems, 0)
    assert found.shape == latents.shape
    assert_close(found[5], sum(latents) / NUMBER)
    assert torch.equal(found[0], found[8])


def test_a_control_changes_answers_only_through_the_latents(made):
    """Own latents change no answer; those of every control change some; batches do not matter."""
    model, tokenizer, problems, latents = made

    def texts(given=None, batch_size=4):
        answers = generate_answers(model, tokenizer, problems, LATENTS, "plain", batch_size, 5, latents=given)
        return [answer.text for answer in answers]

    intact = texts()
    assert texts(latents) == texts(latents.float()) == intact
    for name, control in CONTROLS.items():
        changed = control(latents, problems, 0)
        assert texts(changed) != intact, name
        assert texts(changed, 1) == texts(changed, 9), name


def test_what_controls_need():
    check_controls([], 0, 1)
    check_controls(["zero", "noise", "frozen"], 2, 1)
    with pytest.raises(InputError, match=r"zero,noise.*num_latents"):
        check_controls(["zero", "noise"], 0, 5)
    with pytest.raises(InputError, match=r"shuffle.*two problems"):
        check_controls(["shuffle"], 2, 1)
