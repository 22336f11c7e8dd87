"""Settings that nobody would read are refused, every own field of the training arguments against every choice."""

from dataclasses import fields

import pytest
from transformers import TrainingArguments

from latent_trainer import LatentTrainingArguments
from latent_trainer.errors import InputError
from latent_trainer.methods.curriculum import CURRICULA, Blank
from latent_trainer.methods.presets import METHODS

STOCK = {one.name for one in fields(TrainingArguments)}
# Another value than the default for every field whose use depends on another one.
ASKED = {
    "num_latents": 0,
    "keep_steps": False,
    "latents_per_step": 2,
    "max_stage": 2,
    "pad_latent_to_max": True,
    "uniform_prob": 0.5,
    "mixed_stages": True,
    "internalize_per_stage": 2,
    "internalize_unit": "token",
    "internalize_smoothing": 1.0,
    "epochs_per_stage": 1,
    "steps_per_stage": [1],
    "advance_at": 0.5,
    "reset_optimizer": "stage",
    "feedback": "soft",
    "feedback_options": {"norm": 1.0},
    "rollout": "jacobi",
    "backprop": "last",
    "step_decoder_weight": 2.0,
    "step_decoder_group": 2,
    "remaining_steps": "inside",
    "speed": "({compression}) ",
}
OF_CURRICULUM = {"compressed": {"feedback": "gaussian", "feedback_options": {"size": 8}}}  # where another value fits
ALWAYS = {
    *("method", "objective", "objective_options", "rollout_options", "step_decoder", "keep_step_decoder", "curriculum"),
    *("keep_objective", "curriculum_options"),
    *("first_stage", "last_stage", "template", "markers", "score_answer_prefix", "generate_in_eval", "max_new_tokens"),
}
LATENTS = {"feedback", "feedback_options", "rollout", "backprop"}
STAGES = {"epochs_per_stage", "steps_per_stage", "advance_at", "reset_optimizer"}
READ = {
    "fixed": {"num_latents", "keep_steps", "remaining_steps", *LATENTS},
    "staged": {
        "latents_per_step",
        "max_stage",
        "pad_latent_to_max",
        "uniform_prob",
        "mixed_stages",
        "remaining_steps",
        *LATENTS,
        *STAGES,
    },
    "internalize": {"max_stage", "internalize_per_stage", "internalize_unit", "internalize_smoothing", *STAGES},
    "compressed": {"feedback", "feedback_options", "remaining_steps", "speed"},
}
BASE = {"fixed": {"method": "answer_only", "markers": True}, "staged": {}, "internalize": {"method": "icot"}}
BASE |= {"compressed": {"method": "colar"}}


def make(tmp_path, **changes) -> LatentTrainingArguments:
    return LatentTrainingArguments(str(tmp_path), **{"report_to": "none", **changes})


def test_every_field_is_walked():
    """A new field is read always, or stands in this file with its readers."""
    assert {one.name for one in fields(LatentTrainingArguments)} - STOCK == ALWAYS | set(ASKED)
    assert set(READ) == set(CURRICULA)


@pytest.mark.parametrize("name", ASKED)
@pytest.mark.parametrize("curriculum", CURRICULA)
def test_curriculum(tmp_path, curriculum, name):
    value = OF_CURRICULUM.get(curriculum, {}).get(name, ASKED[name])
    changes = {**BASE[curriculum], name: value, **({"eval_strategy": "epoch"} if name == "advance_at" else {})}
    if name in READ[curriculum]:
        assert getattr(make(tmp_path, **changes), name) == value
        return
    with pytest.raises(InputError) as caught:
        make(tmp_path, **changes)
    line = str(caught.value)
    assert line.startswith(f"{name}={value} has no effect with ") and "\n" not in line
    assert f"curriculum={curriculum}" in line or "step_decoder unset" in line or "markers=False" in line


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"method": "cot", "feedback": "soft"}, "feedback=soft has no effect with num_latents=0, which leaves no latents"),
        ({"method": "no_cot", "backprop": "none"}, "backprop=none has no effect with num_latents=0"),
        (
            {"method": "codi", "num_latents": 0, "feedback_options": {"size": 8}},
            "feedback_options={'size': 8} has no effect with",
        ),
        ({"max_stage": 0, "latents_per_step": 2}, "latents_per_step=2 has no effect with max_stage=0"),
        ({"max_stage": 0, "feedback": "soft"}, "feedback=soft has no effect with max_stage=0, which leaves no latents"),
        (
            {"method": "icot", "max_stage": 0, "internalize_per_stage": 2},
            "internalize_per_stage=2 has no effect with max_stage=0",
        ),
        ({"method": "pause", "backprop": "last"}, "backprop=last has no effect with feedback=learned"),
        ({"method": "answer_only", "remaining_steps": "inside"}, "remaining_steps=inside has no effect with markers=False"),
        ({"method": "codi", "step_decoder": "copy", "step_decoder_group": 2, "latents_per_step": 3}, "latents_per_step=3"),
    ],
)
def test_other_choices(tmp_path, changes, says):
    with pytest.raises(InputError) as caught:
        make(tmp_path, **changes)
    assert says in str(caught.value)


def test_what_a_step_decoder_reads(tmp_path):
    assert make(tmp_path, method="codi", step_decoder="copy", latents_per_step=3).latents_per_step == 3
    assert make(tmp_path, method="codi", step_decoder="copy", step_decoder_group=2).step_decoder_group == 2


@pytest.mark.parametrize("method", METHODS)
def test_arguments_that_were_made_can_be_made_again(tmp_path, method):
    """What a method set itself is no mistake of whoever copies its arguments."""
    args = make(tmp_path, method=method)
    own = {one.name: getattr(args, one.name) for one in fields(args) if one.name not in STOCK}
    again = make(tmp_path, **own)
    assert {name: getattr(again, name) for name in own} == own


def test_a_preset_lends_its_options_to_its_own_choice_only(tmp_path):
    assert make(tmp_path, method="codi", objective="answer").objective_options is None
    assert make(tmp_path, method="pccot", rollout="sequential").rollout_options == {}
    assert make(tmp_path, method="codi", objective="self_distillation").objective_options == {"drop_last_step": True}


@pytest.mark.parametrize("method", sorted(set(METHODS) - {"sim_cot", "colar"}))  # these two are nothing without latents
def test_a_curriculum_can_be_made_where_it_leaves_nothing_to_replace(method, tmp_path):
    """Settings that nobody reads then still make a curriculum, which answers all that it is asked."""
    settings = {"num_latents": 0} if METHODS[method].defaults["curriculum"] == "fixed" else {"max_stage": 0}
    args = LatentTrainingArguments(str(tmp_path), method=method, **settings)
    curriculum = args.make_curriculum()
    row = Blank(3)
    for stage in range(curriculum.num_stages):
        assert curriculum.latents(stage) == 0 == curriculum.plan(stage, row).latents
    assert all(plan.latents == 0 for plan in curriculum.plans(row))
