"""The settings of a run of reinforcement learning: TRL's, how latents are drawn, and what is rewarded."""

from dataclasses import dataclass, field, fields
from typing import Literal

from trl import GRPOConfig, RLOOConfig

from latent_trainer.errors import InputError
from latent_trainer.methods.policies import build_policy
from latent_trainer.methods.policies.contract import LatentPolicy
from latent_trainer.model.generation_doors import DRAWING
from latent_trainer.options import Count, Positive, Scale, check_fields, parse_json

# settings of TRL's that read the entropy of every position, and their values that leave it alone; not every trainer has them
ENTROPY = (("entropy_coef", 0), ("use_adaptive_entropy", False), ("top_entropy_quantile", 1))


@dataclass
class ThoughtConfig:
    """What a thought adds to the settings of one of TRL's trainers; comes before those.

    Where latents are drawn, the model has no dropout.

    Args:
        policy: how latents are drawn, a key of ``POLICIES``.
        policy_options: its options.
        num_latents: latents of every prompt that is made of a problem; by default as many as the model was trained with.
        stop: what ends a thought. "fixed": it is as long as its prompt says. "learned": a head of the model, whose decisions
            have their log-probability beside those of latents. "entropy": the first latent at which the entropy of the next
            token is under ``stop_entropy``.
        max_latents: the most of a thought that is not fixed; by default as many latents as the model was trained with.
        stop_entropy: in nats.
        cold_start: problems from whose shortest right thoughts a new stop head starts; 0 starts it at one half everywhere.
        rewards: what is rewarded where the trainer is given no reward functions, keys of ``REWARDS``.
        reward_options: options of each by its name.
        allow_truncated: go on although no completion ever ends by itself.
    """

    policy: str = field(
        default="deterministic",
        metadata={"help": "How latents are drawn: deterministic, multiplex, token, gaussian, gumbel or dropout."},
    )
    policy_options: dict | str | None = field(default=None, metadata={"help": "Options of the policy."})
    num_latents: Count | None = field(default=None, metadata={"help": "Latents per prompt; by default as trained."})
    stop: Literal["fixed", "learned", "entropy"] = field(
        default="fixed", metadata={"help": "What ends a thought: its prompt (fixed), a learned head, or a sure next token."}
    )
    max_latents: Positive | None = field(
        default=None, metadata={"help": "The most latents of a thought that is not fixed; by default as trained."}
    )
    stop_entropy: Scale | None = field(default=None, metadata={"help": "For stop=entropy: under this many nats."})
    cold_start: Count = field(
        default=512, metadata={"help": "Problems from whose shortest right thoughts a new stop head starts."}
    )
    rewards: list[str] = field(
        default_factory=lambda: ["correct"], metadata={"help": "What is rewarded: correct, format, length, steps."}
    )
    reward_options: dict | str | None = field(
        default=None, metadata={"help": "Options of each by its name, as in {length: {bar: 0.5}}."}
    )
    allow_truncated: bool = field(
        default=False, metadata={"help": "Go on although no completion ever ends within max_completion_length."}
    )

    def __post_init__(self):
        own = tuple(one.name for one in fields(ThoughtConfig))
        check_fields(self, only=own)
        for name in ("policy_options", "reward_options"):
            if isinstance(getattr(self, name), str):
                setattr(self, name, parse_json(name, getattr(self, name)))
        if self.num_generations < 2:
            raise InputError(
                f"num_generations={self.num_generations}: an advantage compares the answers to one prompt; give 2 or more"
            )
        policy = self.make_policy()
        self._check_stop()
        if policy.stochastic or self.stop == "learned":
            self._refuse_with_drawn_latents()
            self.disable_dropout = True  # a thought that is replayed under another mask is another thought
        super().__post_init__()  # type: ignore[misc]  # TRL's
        for name in self.generation_kwargs or {}:
            if name in DRAWING:
                raise InputError(f"generation_kwargs has {name}, which has no effect there; give policy and policy_options")

    def make_policy(self) -> LatentPolicy:
        """Return the policy; a one-line `InputError` where there is no such policy or option."""
        return build_policy(self.policy, self.policy_options)

    def _check_stop(self) -> None:
        """Refuse settings of another way to end a thought."""
        given = {"max_latents": self.max_latents is not None, "stop_entropy": self.stop_entropy is not None}
        taken = {"fixed": set(), "learned": {"max_latents"}, "entropy": set(given)}[self.stop]
        for name, is_given in given.items():
            if is_given and name not in taken:
                raise InputError(f"{name}={getattr(self, name)} has no effect with stop={self.stop}; leave it out")
        if self.stop == "entropy" and self.stop_entropy is None:
            raise InputError("stop=entropy ends a thought at a sure next token; say how sure, in nats, with stop_entropy")
        if self.stop != "fixed" and self.num_latents is not None:
            raise InputError(
                f"num_latents={self.num_latents} fixes the thought that stop={self.stop} ends; give max_latents"
            )

    def _refuse_with_drawn_latents(self) -> None:
        """Refuse settings that have no meaning where latents, or their number, are drawn."""
        refused = (
            ("use_vllm", self.use_vllm, "its server computes no latents"),
            (
                "use_transformers_continuous_batching",
                self.use_transformers_continuous_batching,
                "continuous batching computes no latents",
            ),
            *((name, getattr(self, name, off) != off, "latents have no entropy of a next token") for name, off in ENTROPY),
        )
        for name, is_set, why in refused:
            if is_set:
                drawn = f"policy={self.policy}" if self.make_policy().stochastic else f"stop={self.stop}"
                raise InputError(f"{name}={getattr(self, name)} does not go with {drawn}: {why}; leave it out")


@dataclass
class LatentGRPOConfig(ThoughtConfig, GRPOConfig):
    """TRL's `GRPOConfig`, and what a thought adds (`ThoughtConfig`)."""


@dataclass
class LatentRLOOConfig(ThoughtConfig, RLOOConfig):
    """TRL's `RLOOConfig`, and what a thought adds (`ThoughtConfig`)."""
