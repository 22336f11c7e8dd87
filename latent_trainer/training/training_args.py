"""`LatentTrainingArguments`: everything `TrainingArguments` has, and what latents need."""

from dataclasses import dataclass, field, fields
from typing import Any, get_type_hints

import torch
from transformers import TrainingArguments

from latent_trainer.data.template import TEMPLATES, Template, resolve_template
from latent_trainer.errors import InputError, check_choice, nearest
from latent_trainer.methods.curriculum import CURRICULA, FixedCurriculum, InternalizeCurriculum, StagedCurriculum
from latent_trainer.methods.feedback import FEEDBACKS
from latent_trainer.methods.objectives import OBJECTIVES, check_objective
from latent_trainer.methods.presets import METHODS
from latent_trainer.model.configuration import check_feedback
from latent_trainer.options import Bounds, Count, Positive, Share, Weight, admits, check_fields, parse_json
from latent_trainer.process_group import leave_at_exit
from latent_trainer.rollout import ROLLOUTS
from latent_trainer.rollout.settings import check_rollout
from latent_trainer.training.checkpoints import resumption
from latent_trainer.training.inherited import refuse_fields
from latent_trainer.training.named_options import (
    OWN_CURRICULA,
    PARTS,
    as_fields,
    check_curriculum,
    share_with_curriculum,
    unfold,
    unfold_curriculum,
)
from latent_trainer.training.unread_settings import asked_for, settle_unread

NAMED = {  # what a person may also name as package.module:Class
    "objective": OBJECTIVES,
    "feedback": FEEDBACKS,
    "rollout": ROLLOUTS,
    "curriculum": CURRICULA,
    "template": TEMPLATES,
}
DEFAULTS = {
    "objective": "answer",
    "feedback": "hidden",
    "rollout": "sequential",
    "backprop": "full",
    "curriculum": "fixed",
    "num_latents": 0,
    "keep_steps": False,
    "latents_per_step": 1,
    "max_stage": 3,
    "num_train_epochs": 3.0,  # as in `TrainingArguments`
}
# Ranges of the stock fields, most of which `TrainingArguments` takes as they come.
COUNT, POSITIVE, ABOVE, DECAY = Bounds(least=0), Bounds(least=1), Bounds(above=0), Bounds(least=0, below=1)
STOCK_BOUNDS = {
    **dict.fromkeys(("num_train_epochs", "learning_rate", "warmup_steps", "weight_decay", "max_grad_norm"), COUNT),
    **dict.fromkeys(("eval_delay", "neftune_noise_alpha", "dataloader_num_workers"), COUNT),
    **dict.fromkeys(("per_device_train_batch_size", "per_device_eval_batch_size", "gradient_accumulation_steps"), POSITIVE),
    **dict.fromkeys(("eval_accumulation_steps", "save_total_limit", "torch_empty_cache_steps"), POSITIVE),
    **dict.fromkeys(("dataloader_prefetch_factor", "ddp_bucket_cap_mb", "ddp_timeout"), POSITIVE),
    **dict.fromkeys(("logging_steps", "eval_steps", "save_steps", "adam_epsilon"), ABOVE),
    **dict.fromkeys(("adam_beta1", "adam_beta2"), DECAY),
    **dict.fromkeys(("seed", "data_seed"), Bounds(least=0, most=2**32 - 1)),
    **dict.fromkeys(("max_steps", "local_rank"), Bounds(least=-1)),
    "label_smoothing_factor": Bounds(least=0, most=1),
}


def _option(help: str, default=None, choices=None):
    metadata = {"help": help}
    if choices is not None:
        metadata["help"] += f" One of: {', '.join(choices)}."
    return field(default=default, metadata=metadata)


@dataclass
class LatentTrainingArguments(TrainingArguments):
    """Arguments of `LatentTrainer`. A field left at None takes the default of ``method``.

    Raises:
        ValueError: an unknown choice, a negative count, or settings that contradict each other.
    """

    num_train_epochs: float | None = _option(  # type: ignore[assignment]  # None until the method has been asked
        "Epochs; by default the method's, and enough for every stage of its curriculum."
    )

    method: str = _option("Preset that fills in the fields below that are left unset.", "coconut", METHODS)
    objective: dict | str | None = _option("What a step is scored on.", choices=OBJECTIVES)
    objective_options: dict | str | None = _option("Keyword arguments of the objective, as a mapping or JSON.")
    feedback: dict | str | None = _option("How a hidden state becomes the next latent.", choices=FEEDBACKS)
    feedback_options: dict | str | None = _option("Keyword arguments of the feedback, as a mapping or JSON.")
    rollout: dict | str | None = _option("How the latents are computed.", choices=ROLLOUTS)
    rollout_options: dict | str | None = _option("Keyword arguments of the rollout, as a mapping or JSON.")
    backprop: int | str | None = _option("Latents that gradients flow through: full, last, none, or how many of the last.")

    step_decoder: str | None = _option("Auxiliary decoder of each step from its latents.", choices=("copy", "shared"))
    step_decoder_weight: Weight = _option("Factor of the step decoder's loss.", 1.0)
    step_decoder_group: Positive | None = _option("Latents that stand for a step; by default latents_per_step.")
    keep_step_decoder: bool = _option("Keep the step decoder in the saved model, to explain its latents.", False)

    keep_objective: bool = _option("Keep the objective's own weights in the saved model, to train it on.", False)

    curriculum: dict | str | None = _option("How latents and steps change over training.", choices=CURRICULA)
    curriculum_options: dict | str | None = _option("Keyword arguments of the curriculum, as a mapping or JSON.")
    num_latents: Count | None = _option("Fixed curriculum: latents K of every row.")
    keep_steps: bool | None = _option("Fixed curriculum: whether the written steps stay.")
    latents_per_step: Positive | None = _option("Staged curriculum: latents that replace one step.")
    max_stage: Count | None = _option("Staged and internalize: last stage that drops steps by number; the next drops all.")
    pad_latent_to_max: bool = _option("Staged: give every row the full number of latents in the last stage.", False)
    uniform_prob: Share = _option("Staged: probability of a random stage for a row.", 0.0)
    mixed_stages: bool = _option("Staged: draw every row's stage among those so far, later ones more often.", False)
    internalize_per_stage: Positive = _option("Internalize: steps or tokens dropped per stage.", 1)
    internalize_unit: str = _option("Internalize: what is dropped.", "step", ("step", "token"))
    internalize_smoothing: Weight = _option("Internalize: lambda of the removal offset; 0 turns it off.", 0.0)

    first_stage: Count = _option("Stage that training starts in.", 0)
    last_stage: Count | None = _option(
        "Stage that training ends in, for a run that stops early; by default the curriculum's last."
    )
    epochs_per_stage: Positive | None = _option("Epochs per stage.")
    steps_per_stage: list[Positive] | None = _option("Optimizer steps of each stage; the last number holds for later ones.")
    advance_at: Share | None = _option("Advance when validation accuracy reaches this share, 0 to 1.")
    reset_optimizer: str = _option("When the optimizer's state is reset.", "never", ("never", "stage", "epoch"))

    template: str = _option("Prompt template.", "coconut", TEMPLATES)
    markers: bool | None = _option("Whether rows have <|bot|> and <|eot|>.")
    score_answer_prefix: bool | None = _option("Whether the answer prefix counts in the loss.")
    speed: str | None = _option("Text that tells a prompt how many tokens a latent stands for; holds {compression}.")
    remaining_steps: str | None = _option("Where the remaining steps are written.", choices=("after", "inside"))

    generate_in_eval: bool = _option("Whether evaluate() also generates and grades answers.", True)
    max_new_tokens: Positive = _option("Tokens evaluate() may write per problem.", 64)

    def __post_init__(self):
        self.resume_from_checkpoint = resumption(self.resume_from_checkpoint)
        check_fields(self, STOCK_BOUNDS)
        self._parse_mappings()
        if self.prediction_loss_only:
            self.generate_in_eval = False
        METHODS.choose("method", self.method)
        unfold(self)
        if self.curriculum is None:
            self.curriculum = {**DEFAULTS, **METHODS[self.method].defaults}["curriculum"]
        for name, registry in NAMED.items():
            if getattr(self, name) is not None:
                registry.choose(name, getattr(self, name))
        unfold_curriculum(self)
        asked = asked_for(self)
        self._take_preset()
        self.backprop = int(self.backprop) if str(self.backprop).lstrip("-").isdigit() else self.backprop
        self._check_choices()
        self._check_numbers()
        self._check_combination()
        settle_unread(self, asked, DEFAULTS)
        self.remove_unused_columns = False  # a batch is put together from problems, not from columns
        self.dataloader_pin_memory = False  # the loader yields row numbers
        if not torch.accelerator.is_available():
            self.use_cpu = True  # accelerate 1.15 would let several processes on the CPU each train alone
        refuse_fields(self)
        super().__post_init__()
        leave_at_exit()
        refuse_fields(self)  # those of an accelerator_config, which may be a file
        if self.mixed_precision == "fp16" and self.device.type == "cpu":  # the launcher may ask for it
            raise InputError("fp16 has no effect on a CPU, where accelerate has no float16; set bf16=True or leave it out")

    def _take_preset(self):
        """Fill in what was left unset: options of a choice only beside that choice, and epochs enough for every stage.

        A field counts as unset where it has its own default; so does every option of a part that is the method's own.
        """
        preset = {**DEFAULTS, **METHODS[self.method].defaults}
        usual = {one.name: one.default for one in fields(self) if one.init}
        for name in preset:
            if name not in usual or name in ("method", "output_dir"):
                raise InputError(f"method '{self.method}' sets {name}, which a method cannot set{nearest(name, usual)}")
        if self.steps_per_stage is not None or self.advance_at is not None:
            preset.pop("epochs_per_stage", None)
        for name in PARTS:
            options, given = f"{name}_options", getattr(self, f"{name}_options")
            if getattr(self, name) not in (None, preset[name]):
                preset.pop(options, None)
            elif isinstance(given, dict) and isinstance(preset.get(options), dict):  # one of them changes no other
                setattr(self, options, {**preset[options], **given})
        if self.curriculum in OWN_CURRICULA:
            preset |= as_fields(self.curriculum, check_curriculum(self.curriculum, preset.pop("curriculum_options", None)))
        epochs = preset.pop("num_train_epochs")
        for name, value in preset.items():
            if getattr(self, name) in (None, usual[name]):
                setattr(self, name, value)
        if self.curriculum not in OWN_CURRICULA:
            self.curriculum_options = check_curriculum(self.curriculum, self.curriculum_options) or None
        if METHODS.origin(self.method) is not None:  # values nobody has checked yet
            check_fields(self, STOCK_BOUNDS)
        if self.num_train_epochs is None:
            self.num_train_epochs = float(max(epochs, self._epochs_of_all_stages()))

    def _epochs_of_all_stages(self) -> int:
        """Return the epochs that train every stage as long as another; 0 where stages do not end by epochs."""
        if self.epochs_per_stage is None or self.curriculum not in CURRICULA or self.curriculum == "fixed":
            return 0
        last = self.make_curriculum().num_stages - 1 if self.last_stage is None else self.last_stage
        return self.epochs_per_stage * (last - self.first_stage + 1)

    def _parse_mappings(self):
        """Turn mappings that are given as JSON into mappings; a stock field may hold the name of a file instead."""
        hints, own = get_type_hints(type(self)), tuple(f"{part}_options" for part in PARTS)
        for one in fields(self):
            value = getattr(self, one.name)
            is_text = isinstance(value, str) and admits(hints[one.name], dict)
            if is_text and (one.name in own or value.lstrip().startswith("{")):
                setattr(self, one.name, parse_json(one.name, value))

    def _check_choices(self):
        for name, registry in NAMED.items():
            registry.choose(name, getattr(self, name))
        for name, choices in (
            ("internalize_unit", ("step", "token")),
            ("reset_optimizer", ("never", "stage", "epoch")),
            ("train_sampling_strategy", ("random", "sequential", "group_by_length")),
        ):
            check_choice(name, getattr(self, name), choices)
        if self.remaining_steps is not None:
            check_choice("remaining_steps", self.remaining_steps, ("after", "inside"))
        share_with_curriculum(self)
        self.rollout_options = check_rollout(self.rollout, self.rollout_options or {}, self.backprop)
        if self.feedback_options is not None:
            self.feedback_options = check_feedback(self.feedback, self.feedback_options)
        if self.objective_options is not None:
            self.objective_options = check_objective(self.objective, self.objective_options)

    def _check_combination(self):
        """Refuse combinations that make no sense, with the reason."""
        if self.step_decoder is not None:
            check_choice("step_decoder", self.step_decoder, ("copy", "shared"))
            why = self._nothing_to_decode()
            if why is not None:
                raise InputError(f"step_decoder={self.step_decoder} has nothing to read: {why}; leave it out")
        elif self.keep_step_decoder:
            raise InputError("keep_step_decoder=True has nothing to keep; set step_decoder to copy or shared")
        if self.push_to_hub and self.hub_strategy in ("checkpoint", "all_checkpoints"):
            raise InputError(
                f"hub_strategy={self.hub_strategy} would push checkpoints, which hold pickles; use hub_strategy=end"
            )
        if self.neftune_noise_alpha is not None and getattr(self.make_curriculum(), "gives_inputs", False):
            raise InputError(
                f"neftune_noise_alpha puts noise on every embedding looked up, and curriculum={self.curriculum} makes "
                "latents and their targets of them; leave neftune_noise_alpha out"
            )
        if self.label_smoothing_factor and self.use_liger_kernel:
            raise InputError(
                "label_smoothing_factor cannot be applied in the fused losses of use_liger_kernel; leave one out"
            )
        if ROLLOUTS[self.rollout].refines and not FEEDBACKS[self.feedback].sequential:
            raise InputError(
                f"rollout={self.rollout} has nothing to refine with feedback={self.feedback}; use rollout=sequential"
            )
        if self.keep_steps and self.curriculum == "fixed" and OBJECTIVES[self.objective].has_teacher:
            raise InputError(
                f"objective={self.objective} with keep_steps=True makes student and teacher the same; change one"
            )

    def _nothing_to_decode(self) -> str | None:
        curriculum = self.make_curriculum()
        if getattr(curriculum, "gives_inputs", False):
            return f"curriculum={self.curriculum} gives latents their inputs, the tokens themselves"
        latents, group = curriculum.latents(10**6), self.step_decoder_group or self.latents_per_step
        if latents < group:
            return f"there are no {group} latents for a step" if latents else "there are no latents"
        if self.feedback == "learned":
            return "feedback=learned puts the same embedding in every latent"
        if self.curriculum == "fixed" and self.keep_steps:
            return "keep_steps=True leaves no step for the latents"
        return None

    def _check_numbers(self):
        if self.max_steps == 0:
            raise InputError("max_steps=0 would train num_train_epochs; give a number of steps, or leave it out")
        if self.steps_per_stage is not None and not self.steps_per_stage:
            raise InputError("steps_per_stage=[] must hold numbers of at least 1")
        if self.advance_at is not None and not self.generate_in_eval:
            raise InputError(f"advance_at={self.advance_at} needs accuracy, and generate_in_eval is off; turn it on")
        if self.advance_at is not None and self.eval_strategy == "no":
            raise InputError(f"advance_at={self.advance_at} needs accuracy, and eval_strategy=no; set it to steps or epoch")
        metric = (self.metric_for_best_model or "").removeprefix("eval_")
        if metric.startswith("accuracy") and not self.generate_in_eval:
            raise InputError(
                f"metric_for_best_model={metric} needs written answers, and generate_in_eval is off; turn it on"
            )
        if not self.make_template().score_answer_prefix and (self.curriculum != "fixed" or self.keep_steps):
            raise InputError(
                f"score_answer_prefix=False ends every prompt with the answer prefix, so that the steps curriculum="
                f"{self.curriculum} keeps could not be written; set score_answer_prefix=True"
            )
        curriculum, template = self.make_curriculum(), self.make_template()
        if getattr(curriculum, "open_thoughts", False) and not (template.markers and template.remaining_steps == "inside"):
            raise InputError(
                f"curriculum={self.curriculum} has the model end its thought by <|eot|>; set markers=True and "
                "remaining_steps=inside"
            )
        last = curriculum.num_stages - 1
        for name in ("first_stage", "last_stage"):
            if (getattr(self, name) or 0) > last:
                raise InputError(
                    f"{name}={getattr(self, name)}: curriculum={self.curriculum} has stages 0 to {last}; give one of them"
                )
        if self.last_stage is not None and self.last_stage < self.first_stage:
            raise InputError(f"last_stage={self.last_stage} comes before first_stage={self.first_stage}; change one")
        ways = [name for name in ("epochs_per_stage", "steps_per_stage", "advance_at") if getattr(self, name) is not None]
        if len(ways) > 1:
            raise InputError(f"{' and '.join(ways)} both say when a stage ends; keep one")

    @property
    def full_eval_dtype(self) -> torch.dtype | None:
        """The type an evaluation outside training has its parameters in; None leaves them alone."""
        return torch.bfloat16 if self.bf16_full_eval else torch.float16 if self.fp16_full_eval else None

    def make_curriculum(self: Any) -> Any:  # `__post_init__` has set what is None in the annotations
        """Return the curriculum these arguments describe."""
        if self.curriculum == "fixed":
            return FixedCurriculum(self.num_latents, self.keep_steps)
        if self.curriculum == "staged":
            return StagedCurriculum(
                self.latents_per_step, self.max_stage, self.pad_latent_to_max, self.uniform_prob, self.mixed_stages
            )
        if self.curriculum == "internalize":
            return InternalizeCurriculum(
                self.internalize_per_stage, self.internalize_unit, self.max_stage, self.internalize_smoothing
            )
        return CURRICULA[self.curriculum](**(self.curriculum_options or {}))

    def make_template(self) -> Template:
        """Return the prompt template with the changes these arguments make."""
        asked = getattr(self.make_curriculum(), "factor", None) if self.speed else None
        return resolve_template(
            self.template,
            markers=self.markers,
            score_answer_prefix=self.score_answer_prefix,
            remaining_steps=self.remaining_steps,
            speed=self.speed,
            compression=asked,
        )
