"""An objective with weights of its own is a part of the model: trained, in checkpoints, gone at the end unless kept."""

import json
import shutil

import pytest
import torch
from conftest import make_base
from peft import LoraConfig
from reader_objective import ReaderObjective
from reference import assert_close
from safetensors import safe_open
from training import batch_of, history, make_tokenizer, make_trainer, quick, uneven_problems

from latent_trainer import LatentForCausalLM, LatentTrainer, LatentTrainingArguments, encode_prompts, register_objective
from latent_trainer.data.thought_tokens import add_thought_tokens
from latent_trainer.errors import InputError
from latent_trainer.methods.objectives import OBJECTIVES
from latent_trainer.model.adapters import latent_model

READER = {"objective": "reader", "first_stage": 1, "steps_per_stage": [4], "max_steps": 4, "last_stage": 1}
KINDS = pytest.mark.parametrize("adapters", [False, True], ids=["full", "lora"])


@pytest.fixture(autouse=True)
def reader():
    register_objective("reader", ReaderObjective)
    yield
    OBJECTIVES.forget("reader")


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> str:
    """Return the folder of a base model; an adapter names it."""
    folder = tmp_path_factory.mktemp("base")
    make_base(vocab_size=len(make_tokenizer())).save_pretrained(folder)
    return str(folder)


@pytest.fixture
def make(base):
    """Return a function that makes a trainer."""

    def made(folder, adapters=False, **changes):
        lora = {"peft_config": LoraConfig(r=2)} if adapters else {}
        return make_trainer(folder, base=base, **{**READER, **lora, **changes})

    return made


def go_on(model, folder, **changes) -> LatentTrainer:
    """Return a trainer of a model that is latent already."""
    args = LatentTrainingArguments(str(folder), **quick(**changes))
    return LatentTrainer(model, args, train_dataset=uneven_problems(20), processing_class=latent_tokenizer())


def latent_tokenizer():
    tokenizer = make_tokenizer()
    add_thought_tokens(tokenizer, "<|bot|>", "<|eot|>")
    return tokenizer


def names(folder) -> set[str]:
    """Return the objective's weights in a folder."""
    found = set()
    for path in folder.glob("*.safetensors"):
        with safe_open(path, "pt") as file:
            found |= {name for name in file.keys() if "objective." in name}  # noqa: SIM118
    return found


@KINDS
def test_it_learns(tmp_path, make, adapters):
    trainer = make(tmp_path, adapters, learning_rate=1e-2)
    before = [weight.clone() for weight in latent_model(trainer.model).objective.parameters() if weight.requires_grad]
    trainer.train()
    after = [weight for weight in latent_model(trainer.model).objective.parameters() if weight.requires_grad]
    assert len(before) == 2 and not any(torch.equal(*pair) for pair in zip(before, after, strict=True))
    terms = [term for *_, term in history(trainer, "loss_reader")]
    assert len(terms) == 4 and terms[-1] < terms[0]


@KINDS
def test_it_leaves_the_finished_model(tmp_path, make, adapters):
    """A checkpoint has its weights, the finished model neither them nor its name; both write the same."""
    trainer = make(tmp_path, adapters, save_strategy="steps", save_steps=2)
    trainer.train()
    trainer.save_model()
    assert len(names(tmp_path / "checkpoint-4")) == 2 and not names(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["objective"] is None
    assert latent_model(trainer.model).config.objective == "reader"  # the trainer's own goes on
    loaded = LatentForCausalLM.from_pretrained(str(tmp_path))
    assert loaded.objective is None
    prompts = encode_prompts(["1 2", "3"], trainer.processing_class, 2, "plain")
    with torch.no_grad():
        expected = trainer.model.eval()(**prompts).logits[0, -1]
        assert_close(loaded(**prompts).logits[0, -1], expected, 1e-5 if adapters else 0.0)


@KINDS
def test_it_may_be_kept(tmp_path, make, adapters):
    """What was kept comes back with the model, and a run that goes on from it begins with these weights."""
    trainer = make(tmp_path, adapters, keep_objective=True)
    trainer.train()
    trainer.save_model()
    assert len(names(tmp_path)) == 2
    own = latent_model(trainer.model).objective
    expected = (own.modules_to_save["default"] if adapters else own).state_dict()
    loaded = LatentForCausalLM.from_pretrained(str(tmp_path))
    again = go_on(loaded, tmp_path / "again", **READER)
    for model in (loaded, again.model):
        found = model.objective.state_dict()
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], value) for name, value in expected.items())
    assert again.train_objective is again.model.objective


def test_kept_weights_under_other_options(tmp_path, make):
    """An option such as a weight of a term changes nothing of what was learned; one that changes shapes is refused."""
    trainer = make(tmp_path, keep_objective=True)
    trainer.train()
    trainer.save_model()
    expected = trainer.model.objective.state_dict()
    changed = {**READER, "objective_options": {"factor": 2.0}}
    again = go_on(LatentForCausalLM.from_pretrained(str(tmp_path)), tmp_path / "a", **changed)
    found = again.model.objective.state_dict()
    assert again.train_objective.options.factor == again.model.config.objective_options["factor"] == 2.0
    assert all(torch.equal(found[name], value) for name, value in expected.items())
    loaded = LatentForCausalLM.from_pretrained(str(tmp_path))
    loaded.objective.head = torch.nn.Linear(2, 2)
    with pytest.raises(InputError, match="objective=reader has other weights with options"):
        go_on(loaded, tmp_path / "b", **changed)


@KINDS
def test_a_second_trainer(tmp_path, make, adapters):
    """A model that was trained in this process goes on with the very objective it has, adapters or not."""
    first = make(tmp_path / "first", adapters)
    own = latent_model(first.model).objective
    second = go_on(first.model, tmp_path / "second", **READER)
    assert latent_model(second.model).objective is own is second.train_objective


@KINDS
def test_resume(tmp_path, make, adapters):
    whole = make(tmp_path / "whole", adapters, save_strategy="steps", save_steps=2)
    whole.train()
    shutil.copytree(tmp_path / "whole" / "checkpoint-2", tmp_path / "again" / "checkpoint-2")
    again = make(tmp_path / "again", adapters, save_strategy="steps", save_steps=2)
    again.train(resume_from_checkpoint=True)
    terms = ("loss", "loss_answer", "loss_reader", "grad_norm")
    assert history(again, *terms) == history(whole, *terms) and len(history(whole)) == 4


def test_batch_and_accumulation(tmp_path, make):
    """What it counts is counted over the whole accumulated batch, fillers left out."""
    curves = []
    for size, parts in ((8, 1), (1, 8), (2, 4)):
        sizes = {"per_device_train_batch_size": size, "gradient_accumulation_steps": parts}
        trainer = make(tmp_path / str(size), **sizes, uniform_prob=0.5)
        trainer.train()
        curves.append(history(trainer, "loss_reader", "grad_norm"))
    for curve in curves[1:]:
        for (*_, reader, norm), (*_, expected, expected_norm) in zip(curve, curves[0], strict=True):
            assert (reader, norm) == pytest.approx((expected, expected_norm), rel=1e-5)


def test_terms_are_those_of_the_objective_by_hand(tmp_path, make):
    """Terms computed within the model's forward equal the objective called on what the forward returns."""
    trainer = make(tmp_path)
    batch = batch_of(trainer, list(range(8)))
    totals = trainer._totals(trainer.model, [batch])
    _, inside = trainer._scored(trainer.model, batch, totals)
    outputs = trainer._outputs(trainer.model, batch)
    outside = trainer.model.objective(trainer._step(outputs, batch, totals))
    assert inside.keys() == {"answer", "reader"}
    assert_close(inside, outside)


def test_evaluation(tmp_path, make):
    """The loss of an evaluation has its terms, whatever the batch."""
    losses = []
    for size in (1, 4, 9):
        trainer = make(tmp_path / str(size), per_device_eval_batch_size=size, generate_in_eval=False)
        losses.append(trainer.evaluate(uneven_problems(9))["eval_loss"])
    assert losses[1:] == pytest.approx([losses[0]] * 2, rel=1e-6)


def test_weights_that_adapters_would_not_save(tmp_path, make):
    trained = make(tmp_path / "first", True, objective="answer")
    with pytest.raises(InputError, match="objective=reader adds weights that the model's adapters would not save"):
        go_on(trained.model, tmp_path / "second", **READER)
    trained = make(tmp_path / "third", True)
    with pytest.raises(InputError, match="objective=reader adds weights that the model's adapters would not save"):
        go_on(trained.model, tmp_path / "fourth", **{**READER, "objective_options": {"factor": 2.0}})


def test_nothing_to_keep(tmp_path, make):
    with pytest.raises(InputError, match="keep_objective=True keeps nothing: objective=answer has no weights"):
        make(tmp_path, objective="answer", keep_objective=True)
