"""A fresh model for every run, and hyper-parameter search over runs."""

import optuna
import pytest
import torch
from conftest import make_base
from peft import LoraConfig, PeftModel
from training import history, make_tokenizer, make_trainer, uneven_problems

from latent_trainer.errors import InputError
from latent_trainer.model.adapters import latent_model

EVALUATION = {"eval_dataset": uneven_problems(3), "generate_in_eval": False}


@pytest.fixture(autouse=True)
def quiet():
    """Let optuna say nothing."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def new_model():
    """Return a new base model, always the same one."""
    return make_base(vocab_size=len(make_tokenizer()), dtype=torch.float32)


@pytest.mark.parametrize("adapters", [False, True], ids=["full", "lora"])
def test_every_run_has_a_fresh_model(tmp_path, adapters):
    """With feedback, step decoder and adapters; two runs are the same run, that of a model that is given."""
    settings = {"method": "sim_cot", "latents_per_step": 1, "feedback": "projection", "number": 8, "max_steps": 3}
    settings |= {"steps_per_stage": [1], "first_stage": 1} | ({"peft_config": LoraConfig(r=2)} if adapters else {})
    trainer = make_trainer(tmp_path, model_init=new_model, **settings)
    curves = []
    for _ in range(2):
        trainer.train()
        curves.append(history(trainer, "loss"))
        latent = latent_model(trainer.model)
        assert isinstance(trainer.model, PeftModel) == adapters
        assert latent.config.feedback == "projection" and latent.step_decoder is not None
        assert latent.config.num_latents == 2 and latent.config.template["question"]
    assert curves[0] == curves[1]
    assert curves[0][0][2] != curves[0][2][2]


def test_hyperparameter_search(tmp_path):
    """Every trial is the run its settings make by themselves; the smallest validation loss is the best."""
    settings = {"number": 8, "max_steps": 3, "steps_per_stage": [1], **EVALUATION}
    trainer = make_trainer(tmp_path / "search", model_init=new_model, **settings)
    rates = {}

    def space(trial):
        rates[trial.number] = rate = trial.suggest_float("learning_rate", 1e-4, 1e-1, log=True)
        return {"learning_rate": rate}

    best = trainer.hyperparameter_search(space, n_trials=3, sampler=optuna.samplers.RandomSampler(seed=0))
    found = {}
    for number, rate in rates.items():
        alone = make_trainer(tmp_path / str(number), model_init=new_model, **{**settings, "learning_rate": rate})
        alone.train()
        found[number] = alone.evaluate()["eval_loss"]
    assert best.objective == pytest.approx(min(found.values()), rel=1e-6)
    assert rates[int(best.run_id)] == min(rates.values(), key=lambda rate: found[next(n for n in rates if rates[n] == rate)])


def test_the_seed_of_a_trial(tmp_path):
    """What is added to the model is drawn from it too, in the first trial as in the others."""
    settings = {"number": 8, "max_steps": 1, "first_stage": 1, "last_stage": 1, "feedback": "projection", **EVALUATION}
    trainer = make_trainer(tmp_path / "search", model_init=new_model, **settings)
    found = {}

    def objective(metrics):
        return found.setdefault(trainer.args.seed, metrics["eval_loss"])

    sampler = optuna.samplers.GridSampler({"seed": [3, 4]}, seed=0)
    trainer.hyperparameter_search(lambda trial: {"seed": trial.suggest_int("seed", 3, 4)}, objective, 2, sampler=sampler)
    assert found.keys() == {3, 4}
    for number, loss in found.items():
        alone = make_trainer(tmp_path / str(number), model_init=new_model, seed=number, **settings)
        alone.train()
        assert alone.evaluate()["eval_loss"] == pytest.approx(loss, rel=1e-6)


@pytest.mark.parametrize(
    ("search", "words"),
    [
        ({"hp_space": lambda trial: {"max_stage": 1}}, "cannot vary max_stage.*latent-trainer sweep"),
        ({"hp_space": lambda trial: {"learning_rates": 1}}, "learning_rates; did you mean 'learning_rate'"),
        ({"direction": "maximize"}, "maximize would maximise eval_loss; give compute_objective"),
    ],
)
def test_searches_that_are_refused(tmp_path, search, words):
    trainer = make_trainer(tmp_path, model_init=new_model, number=8, max_steps=1, **EVALUATION)
    with pytest.raises(InputError, match=words):
        trainer.hyperparameter_search(n_trials=1, **search)


def test_a_search_needs_fresh_models(tmp_path):
    with pytest.raises(InputError, match="give LatentTrainer model_init"):
        make_trainer(tmp_path, number=8).hyperparameter_search()
