"""Thoughts whose length is learned: the stop head at generation, in the likelihood, from a cold start, and saved."""

import contextlib
from types import SimpleNamespace

import pytest
import torch
from peft import LoraConfig

pytest.importorskip("trl")

from reinforced import make, save_model
from transformers import set_seed

from latent_trainer import LatentForCausalLM, encode_prompts
from latent_trainer.data import as_problems
from latent_trainer.errors import InputError
from latent_trainer.evaluation.generation import generate_answers, new_tokens
from latent_trainer.rl import LatentRLOOConfig, LatentRLOOTrainer, stops
from latent_trainer.rollout.thoughts import ReplayedThoughts, using

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning", "ignore::DeprecationWarning")
MOST = 4
LEARNED = {"stop": "learned", "max_latents": MOST, "cold_start": 0}
EXACT = {"model_init_kwargs": {"dtype": "float64"}, "beta": 0.0}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("latent"))


def stopping(saved, weight=0.5, dtype=torch.float64) -> LatentForCausalLM:
    """Return a model whose thoughts end at random."""
    model = LatentForCausalLM.from_pretrained(saved.folder).to(dtype).eval()
    model.add_stop_head()
    torch.manual_seed(0)
    model.stop_head.weight.data.normal_(std=weight)
    model.config.open_thought, model.config.num_latents = True, MOST
    return model


def lengths(model, rows) -> list[int]:
    return (rows == model.config.latent_token_id).sum(1).tolist()


def test_generation_stops_where_the_head_says(saved):
    """Greedy thoughts end at the first latent after which stopping is likelier, as a pass over each alone shows."""
    model = stopping(saved)
    questions = [row["question"] for row in saved.problems]
    batch = encode_prompts(questions, saved.tokenizer, None)
    rows = model.generate(**batch, max_new_tokens=MOST + 3, do_sample=False)[:, batch["input_ids"].shape[1] :]
    expected = []
    for question in questions:
        closed = encode_prompts([question], saved.tokenizer, MOST)
        hidden = model.run(closed["input_ids"], closed["attention_mask"]).hidden[0, -MOST - 2 : -1]  # <|bot|> and latents
        ends = [*(model.stop_head(hidden)[:MOST, 0] > 0).tolist(), True]
        expected.append(ends.index(True))
    assert lengths(model, rows) == expected and len(set(expected)) > 1
    assert all(row[number] == model.config.eot_token_id for row, number in zip(rows.tolist(), expected, strict=True))


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_sampling_stops_as_often_as_the_head_says(saved, temperature):
    """The share of thoughts without a latent is the chance of stopping at once; with a temperature, that of its log-odds."""
    model, draws = stopping(saved), 2000
    batch = encode_prompts([saved.problems[0]["question"]], saved.tokenizer, None)
    set_seed(0)
    more = {"do_sample": True, "temperature": temperature, "top_k": 0, "max_new_tokens": 1, "num_return_sequences": draws}
    rows = model.generate(**batch, **more)
    with torch.no_grad():
        model(**batch)
    chance = (model.stop_scores[0] / temperature).sigmoid().item()
    share = (rows[:, -1] == model.config.eot_token_id).double().mean().item()
    assert share == pytest.approx(chance, abs=4 * (chance * (1 - chance) / draws) ** 0.5)
    assert set(rows[:, -1].tolist()) == {model.config.eot_token_id, model.config.latent_token_id}


def test_beams_add_up_log_probabilities(saved):
    """Going on and stopping have the scores that a head's log-odds make of them, and no odds as they are."""
    model = stopping(saved)
    batch = encode_prompts([saved.problems[0]["question"]], saved.tokenizer, None)
    more = {"num_beams": 2, "num_return_sequences": 2, "max_new_tokens": 1, "length_penalty": 0.0, "do_sample": False}
    found = model.generate(**batch, **more, return_dict_in_generate=True, output_scores=True)
    with torch.no_grad():
        model(**batch)
    odds = {model.config.eot_token_id: model.stop_scores, model.config.latent_token_id: -model.stop_scores}
    expected = [torch.nn.functional.logsigmoid(odds[token]).item() for token in found.sequences[:, -1].tolist()]
    assert found.sequences_scores.tolist() == pytest.approx(expected, abs=1e-6)


def test_drafts_are_refused(saved):
    """A head judges the last column of a call, and a draft is checked in several."""
    model = stopping(saved)
    batch = encode_prompts([saved.problems[0]["question"]], saved.tokenizer, None)
    with pytest.raises(InputError, match="of which a stop head judges the last alone") as error:
        model.generate(**batch, max_new_tokens=4, do_sample=False, prompt_lookup_num_tokens=2)
    assert "\n" not in str(error.value)


def drawn(saved, folder, **more):
    """Return a trainer and the batch it has generated."""
    trainer = make(saved, folder, dataset=saved.problems, per_device_train_batch_size=16, **{**LEARNED, **EXACT, **more})
    torch.manual_seed(0)
    trainer.model.stop_head.weight.data.normal_(std=0.1)
    trainer.model.stop_head.bias.data.fill_(-1.7)
    trainer.current_gradient_accumulation_steps = 1
    trainer.model.train()
    rows = [saved.problems[place // 2] for place in range(16)]
    return trainer, trainer._generate_and_score_completions([{**row, "prompt": row["question"]} for row in rows])


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("policy", ["deterministic", "multiplex"])
def test_log_probabilities_by_hand(saved, tmp_path, policy, temperature):
    """Every row alone: those of its latents, of going on before each, of stopping where it was free to, of its tokens."""
    trainer, batch = drawn(saved, tmp_path, policy=policy, temperature=temperature)
    config, model = trainer.model.config, trainer.model
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1)
    mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1)
    trainer._thoughts = ({name.removeprefix("record_"): value for name, value in batch.items() if "record_" in name},) * 3
    record = trainer._thoughts[0]
    trainer._thoughts = (record, record.pop("counted"), record.pop("given"))
    width = batch["completion_ids"].shape[1]
    found, _, _ = trainer._get_per_token_logps_and_entropies(model, ids, mask, width)
    numbers = lengths(model, batch["completion_ids"])
    assert len(set(numbers)) > 1 and MOST in numbers
    for row, number in enumerate(numbers):
        prompt = batch["prompt_ids"][row][batch["prompt_mask"][row].bool()]
        own = batch["completion_ids"][row][batch["completion_mask"][row].bool()]
        trainer._thoughts = (
            {name: value[row : row + 1, :number] for name, value in record.items()},
            torch.ones(1, number, dtype=torch.bool),
            torch.zeros(1, 0, dtype=torch.bool),
        )
        whole = torch.cat([prompt, own])[None]
        with stops_off(trainer):
            plain, _, _ = trainer._get_per_token_logps_and_entropies(model, whole, torch.ones_like(whole), len(own))
        scores = trainer_scores(trainer, whole, record, row, number) / temperature
        first = len(prompt) - 1
        expected = plain[0].detach().clone()
        expected[:number] += torch.nn.functional.logsigmoid(-scores[first : first + number])
        expected[number] = 0 if number == MOST else torch.nn.functional.logsigmoid(scores[first + number])
        torch.testing.assert_close(found[row, : len(own)].detach(), expected.to(found.dtype), rtol=0, atol=1e-5)
        counts = (batch["completion_mask"] * batch["tool_mask"])[row, : len(own)].tolist()
        assert counts == [1] * number + [int(number < MOST)] + [1] * (len(own) - number - 1)
        assert own[number] == config.eot_token_id


@contextlib.contextmanager
def stops_off(trainer):
    """Have a trainer leave the stop head's decisions out for as long as the block runs."""
    trainer.args.stop = "fixed"
    yield
    trainer.args.stop = "learned"


def trainer_scores(trainer, ids, record, row, number) -> torch.Tensor:
    """Return the head's log-odds (T,) after every column of one row, its thought replayed."""
    own = {name: value[row : row + 1, :number] for name, value in record.items()}
    with (
        torch.no_grad(),
        using(trainer.model, ReplayedThoughts(trainer.policy, own, torch.ones(1, number, dtype=torch.bool))),
    ):
        hidden = trainer.model.backbone(ids, use_cache=False).last_hidden_state
    return trainer.model.stop_head(hidden)[0, :, 0].detach()


@pytest.mark.parametrize("policy", ["deterministic", "multiplex", "gaussian"])
@pytest.mark.parametrize("peft", [None, LoraConfig(r=4, target_modules="all-linear")], ids=["full", "lora"])
def test_the_first_ratio_is_one(saved, tmp_path, policy, peft):
    """Old log-probabilities are those of the first step; a step trains the head, and it is saved."""
    more = {"policy": policy, "steps_per_generation": 2, "max_steps": 1, "optim": "sgd", "learning_rate": 0.1}
    trainer = make(saved, tmp_path, dataset=saved.problems, peft_config=peft, **{**LEARNED, **EXACT, **more})
    ratios, losses = [], trainer._compute_loss
    kept, seen = trainer._get_per_token_logps_and_entropies, []
    trainer._get_per_token_logps_and_entropies = lambda *args, **kw: seen.append(kept(*args, **kw)) or seen[-1]

    def listen(model, inputs):
        loss = losses(model, inputs)
        mask = inputs["completion_mask"] * inputs["tool_mask"]
        ratios.append(((seen[-1][0] - inputs["old_per_token_logps"]) * mask).exp())
        return loss

    trainer._compute_loss = listen
    trainer.train()
    assert all(torch.allclose(one, torch.ones_like(one), rtol=0, atol=1e-12) for one in ratios[:1])
    moved = [value for name, value in trainer.model.named_parameters() if "stop_head" in name and value.requires_grad]
    assert moved and any(value.abs().max() > 0 for value in moved)
    trainer.save_model(tmp_path / "out")
    again = LatentForCausalLM.from_pretrained(tmp_path / "out")
    assert again.config.open_thought and again.config.num_latents == MOST
    assert torch.equal(again.stop_head.weight.double(), moved[0].detach().double())


def test_fewer_latents_are_learned(saved, tmp_path):
    """Where short thoughts are rewarded, whatever is written, they become shorter; where long ones are, longer."""

    def mean_of(sign: int, folder) -> float:
        seen = []

        def reward(completions, num_latents, **_):
            seen.append(sum(num_latents) / len(num_latents))
            return [sign * float(number) for number in num_latents]

        common = {"max_steps": 15, "per_device_train_batch_size": 16, "num_generations": 8, "max_completion_length": 2}
        common |= {"learning_rate": 1e-2, "allow_truncated": True}
        make(saved, folder, reward=reward, dataset=saved.problems, **{**LEARNED, **common}).train()
        return sum(seen[-3:]) / 3

    assert mean_of(-1, tmp_path / "short") < 0.6  # 15/16 at the start, where every stop has the chance of one half
    assert mean_of(1, tmp_path / "long") > 2


def test_cold_start(saved):
    """A head that is fitted to lengths that the hidden states tell ends thoughts there."""
    model = stopping(saved, weight=0.0)
    problems = as_problems(saved.problems)
    wanted = [int(problem.question.split()[1][1:]) % 3 for problem in problems]
    stops.start_head(model, saved.tokenizer, problems, wanted, "coconut")
    answers = generate_answers(model, saved.tokenizer, problems, MOST, "coconut", max_new_tokens=3)
    same = [answer.latents == number for answer, number in zip(answers, wanted, strict=True)]
    assert sum(same) >= len(same) - 2
    with pytest.raises(InputError, match="answers none of the problems right"):
        stops.start_head(model, saved.tokenizer, problems, [None] * len(problems), "coconut")


def test_shortest_right(saved):
    """The first number of latents with a right answer, by answers with thoughts of every length."""
    model, problems = stopping(saved), as_problems(saved.problems)
    asked = [
        generate_answers(model, saved.tokenizer, problems, MOST, "coconut", 64, 4, numbers=[number] * len(problems))
        for number in range(MOST + 1)
    ]
    found = stops.shortest_right(model, saved.tokenizer, problems, MOST, "coconut", 3)
    right = [[answer.correct for answer in own] for own in asked]
    for place, number in enumerate(found):
        ways = [one for one in range(MOST + 1) if right[one][place]]
        assert number == (min(ways) if ways else None)


def test_entropy(saved, tmp_path):
    """A sure next token ends the thought: nothing is decided, the latents of a policy alone count."""
    for policy, counts in (("deterministic", 0), ("multiplex", 1)):
        more = {"stop": "entropy", "stop_entropy": 100.0, "max_latents": MOST, "policy": policy}
        trainer = make(saved, tmp_path, dataset=saved.problems, **more, **EXACT)
        trainer.current_gradient_accumulation_steps = 1
        rows = [saved.problems[row] | {"prompt": saved.problems[row]["question"]} for row in (0, 0, 1, 1)]
        batch = trainer._generate_and_score_completions(rows)
        assert lengths(trainer.model, batch["completion_ids"]) == [0] * 4  # sure at once
        trainer.model.config.stop_entropy = 1e-9
        batch = trainer._generate_and_score_completions(rows)
        assert lengths(trainer.model, batch["completion_ids"]) == [MOST] * 4
        mask = batch["completion_mask"] * batch["tool_mask"]
        assert mask[:, : MOST + 1].tolist() == [[counts] * MOST + [0]] * 4 and mask[:, MOST + 1].all()
        trainer.train()


def test_a_head_beside_entropy(saved, tmp_path):
    """The head would end the thought before the next token is sure."""
    stopping(saved, dtype=torch.float32).save_pretrained(tmp_path / "model")
    other = SimpleNamespace(**{**vars(saved), "folder": str(tmp_path / "model")})
    with pytest.raises(InputError, match=r"stop=entropy .* the model has a stop head") as error:
        make(other, tmp_path, dataset=saved.problems, stop="entropy", stop_entropy=1.0)
    assert "\n" not in str(error.value)


def test_as_much_is_written_after_every_thought(saved, tmp_path):
    """A short thought leaves no more room for the text than a long one, in training and in the model that is saved."""
    model = LatentForCausalLM.from_pretrained(saved.folder)
    model.generation_config.max_new_tokens = 8
    model.save_pretrained(tmp_path / "model")
    other = SimpleNamespace(**{**vars(saved), "folder": str(tmp_path / "model")})
    more = {"generation_kwargs": {"suppress_tokens": [saved.tokenizer.eos_token_id]}, "allow_truncated": True}
    for peft in (None, LoraConfig(r=4)):
        trainer = make(other, tmp_path, dataset=saved.problems, peft_config=peft, **{**LEARNED, **more})
        trainer.train()
        assert len({*trainer._latents}) > 1 and [len(written) for written in trainer._written] == [5] * 4
        trainer.save_model(tmp_path / "saved")
        again = LatentForCausalLM.from_pretrained(tmp_path / "saved")
        assert again.generation_config.max_new_tokens == 8 + MOST + 1 and new_tokens(again) == 9  # <|eot|> is one


def test_leave_one_out(saved, tmp_path):
    """RLOO learns to stop as well."""
    more = {"kind": LatentRLOOTrainer, "config": LatentRLOOConfig, "policy": "multiplex"}
    trainer = make(saved, tmp_path, dataset=saved.problems, **{**LEARNED, **EXACT, **more})
    trainer.train()
    assert trainer.model.stop_head.weight.abs().max() > 0


REFUSED = [
    ({"stop": "lerned"}, "stop='lerned' is not one of"),
    ({"stop": "learned", "num_latents": 2}, "num_latents=2 fixes the thought that stop=learned ends"),
    ({"stop": "learned", "stop_entropy": 1.0}, "stop_entropy=1.0 has no effect with stop=learned"),
    ({"max_latents": 3}, "max_latents=3 has no effect with stop=fixed"),
    ({"stop": "entropy"}, "say how sure, in nats, with stop_entropy"),
    ({"stop": "learned", "entropy_coef": 0.1}, "entropy_coef=0.1 does not go with stop=learned"),
]


@pytest.mark.parametrize(("changes", "why"), REFUSED, ids=lambda one: str(one)[:40])
def test_refused(saved, tmp_path, changes, why):
    with pytest.raises(InputError, match=why) as error:
        make(saved, tmp_path, dataset=saved.problems, **changes)
    assert "\n" not in str(error.value)


def test_refused_prompts(saved, tmp_path):
    """Prompts that open no thought; a head that has no problems to start from."""
    with pytest.raises(InputError, match="end every prompt with"):
        make(saved, tmp_path, **LEARNED).train()
    with pytest.raises(InputError, match="a new stop head starts from problems"):
        make(saved, tmp_path, stop="learned", cold_start=8)


def test_the_reference_has_the_head(saved, tmp_path):
    """A reference model is loaded without the new head and gets it as it starts: no divergence before the first step."""
    trainer = make(saved, tmp_path, dataset=saved.problems, beta=0.1, **{**LEARNED, "policy": "multiplex"})
    trainer.train()
    first, second = (row["kl"] for row in trainer.state.log_history if "kl" in row)
    assert first == pytest.approx(0, abs=1e-6) and second > 1e-7
