"""A part with its options in one mapping, in YAML, on the command line and in Python; curricula with their own options."""

from dataclasses import dataclass

import pytest
from training import make_trainer

from latent_trainer import LatentTrainingArguments, register_curriculum
from latent_trainer.cli.arguments import parse
from latent_trainer.errors import InputError
from latent_trainer.methods.curriculum import CURRICULA, Plan, StagedCurriculum
from latent_trainer.options import Positive


def arguments(**changes) -> LatentTrainingArguments:
    return LatentTrainingArguments("nowhere", report_to="none", use_cpu=True, **changes)


def settings(args: LatentTrainingArguments) -> dict:
    return {name: value for name, value in args.to_dict().items() if "time" not in name and name not in ("logging_dir",)}


# what is written in one mapping, and the same in flat fields
ALIKE = {
    "objective": (
        {"method": "codi", "objective": {"name": "self_distillation", "factor": 2, "distance": "l2"}},
        {"method": "codi", "objective": "self_distillation", "objective_options": {"factor": 2, "distance": "l2"}},
    ),
    "name alone": ({"method": "codi", "objective": {"name": "self_distillation"}}, {"method": "codi"}),
    "feedback": (
        {"feedback": {"name": "soft", "top_k": 5}},
        {"feedback": "soft", "feedback_options": {"top_k": 5}},
    ),
    "rollout": (
        {"rollout": {"name": "jacobi", "iterations": 2}},
        {"rollout": "jacobi", "rollout_options": {"iterations": 2}},
    ),
    "staged": (
        {"curriculum": {"name": "staged", "latents_per_step": 3, "max_stage": 5, "uniform_prob": 0.1}},
        {"curriculum": "staged", "latents_per_step": 3, "max_stage": 5, "uniform_prob": 0.1},
    ),
    "fixed": (
        {"method": "answer_only", "curriculum": {"name": "fixed", "num_latents": 3}},
        {"method": "answer_only", "num_latents": 3},
    ),
    "internalize": (
        {"method": "icot", "curriculum": {"name": "internalize", "per_stage": 8, "unit": "token", "smoothing": 4.0}},
        {"method": "icot", "internalize_per_stage": 8, "internalize_unit": "token", "internalize_smoothing": 4.0},
    ),
    "curriculum_options": (
        {"curriculum_options": {"max_stage": 5}, "curriculum": "staged"},
        {"max_stage": 5},
    ),
}


@pytest.mark.parametrize("case", ALIKE)
def test_both_forms_are_the_same(case):
    nested, flat = ALIKE[case]
    assert settings(arguments(**nested)) == settings(arguments(**flat))


def test_yaml_and_command_line(tmp_path):
    """Words mean what the option's type says, as everywhere."""
    file = tmp_path / "run.yaml"
    file.write_text("method: codi\nobjective: {name: self_distillation, factor: 2, drop_last_step: no}\noutput_dir: out\n")
    (args,) = parse("train", (LatentTrainingArguments,), ["--config", str(file), "--report_to", "none"])
    assert (args.objective, args.objective_options) == ("self_distillation", {"factor": 2, "drop_last_step": False})
    words = ["--output_dir", "out", "--report_to", "none", "--rollout", '{"name": "jacobi", "iterations": 2}']
    (args,) = parse("train", (LatentTrainingArguments,), words)
    assert (args.rollout, args.rollout_options) == ("jacobi", {"iterations": 2})


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"objective": {"factor": 2}}, "objective={'factor': 2} has no name; write objective: {name: ..."),
        ({"rollout": {"name": 3}}, "rollout={'name': 3} has no name"),
        (
            {"feedback": {"name": "soft", "top_k": 5}, "feedback_options": {"top_k": 4}},
            "options of feedback stand in feedback and in feedback_options; keep one of them",
        ),
        ({"objective": {"name": "answers"}}, "objective='answers' is not one of answer, "),
        ({"objective": {"name": "self_distillation", "factors": 2}}, "no option 'factors'; did you mean 'factor'?"),
        ({"curriculum": {"name": "staged", "stages": 2}}, "curriculum_options: curriculum 'staged' has no option 'stages'"),
        (
            {"curriculum": {"name": "staged", "max_stage": 2}, "max_stage": 4},
            "max_stage=4 and 2 in curriculum_options are both given; keep one",
        ),
        ({"curriculum": {"name": "fixed", "num_stages": 2}}, "has no option 'num_stages'"),
    ],
    ids=str,
)
def test_what_is_refused(changes, says):
    with pytest.raises(InputError) as refused:
        arguments(**changes)
    assert says in str(refused.value) and len(str(refused.value).splitlines()) == 1


@dataclass(frozen=True)
class ByTokens:
    """As many latents as the steps have tokens divided by ``ratio``: latents that stand for tokens, as in CoLaR."""

    ratio: Positive = 2
    num_stages = 2

    def plan(self, stage, row, rng=None) -> Plan:
        tokens = sum(map(len, row.steps))
        return Plan(-(-tokens // self.ratio), 10**9) if stage else Plan()

    def plans(self, row) -> list[Plan]:
        return [self.plan(stage, row) for stage in range(self.num_stages)]

    def latents(self, stage) -> int:
        return 4 if stage else 0


@pytest.fixture
def by_tokens():
    register_curriculum("by_tokens", ByTokens)
    yield
    CURRICULA.forget("by_tokens")


@pytest.mark.usefixtures("by_tokens")
def test_a_curriculum_that_sees_tokens(tmp_path):
    changes = {"curriculum": "by_tokens", "curriculum_options": {"ratio": 3}, "latents_per_step": None, "max_stage": None}
    trainer = make_trainer(tmp_path, **changes, steps_per_stage=[1], max_steps=2)
    assert trainer.curriculum == ByTokens(3)
    trainer.train()
    assert trainer.model.config.stage == 1 and trainer.model.config.num_latents == 4
    for row in trainer.rows:
        view = trainer.batches.views(row, trainer.batches.plan(row, 1))["latent"]
        assert view.input_ids.count(trainer.batches.encoder.latent) == -(-sum(map(len, row.steps)) // 3)
    with pytest.raises(InputError, match=r"curriculum_options.ratio=0 must be at least 1"):
        make_trainer(tmp_path / "zero", **{**changes, "curriculum_options": {"ratio": 0}})


def test_a_part_replaces_the_presets(tmp_path):
    """Options of a preset go with the part they belong to."""
    assert arguments(method="codi").objective_options == {"drop_last_step": True}
    assert arguments(method="codi", objective={"name": "answer"}).objective_options is None
    assert arguments().make_curriculum() == StagedCurriculum(2, 3)


@pytest.mark.parametrize(
    ("settings", "part", "expected"),
    [
        ({"method": "codi", "objective_options": {"factor": 20.0}}, "objective", {"factor": 20.0, "drop_last_step": True}),
        (
            {"method": "kava", "objective": {"name": "kv_distillation", "eviction": "uniform"}},
            "objective",
            {"factor": 10.0, "embedding_layer": False, "eviction": "uniform"},
        ),
        ({"method": "mux", "objective_options": {"rho": 0.5}}, "objective", {"targets": "superposed", "rho": 0.5}),
        ({"method": "codi", "objective_options": {"drop_last_step": False}}, "objective", {"drop_last_step": False}),
        ({"method": "codi", "objective_options": {}}, "objective", {"drop_last_step": True}),
        ({"method": "codi", "objective": {"name": "kv_distillation", "factor": 2.0}}, "objective", {"factor": 2.0}),
    ],
    ids=str,
)
def test_an_option_leaves_the_others_of_its_preset(tmp_path, settings, part, expected):
    """A preset's option that nobody names stays what the method was published with; another part has none of them."""
    args = LatentTrainingArguments(str(tmp_path), use_cpu=True, report_to="none", **settings)
    assert getattr(args, f"{part}_options") == expected
