"""Published methods as presets: defaults for the training arguments, each with its citation.

Any field can be set by hand, so combinations nobody has published also train.
"""

from dataclasses import dataclass, field

from latent_trainer.errors import InputError
from latent_trainer.registry import Registry


@dataclass(frozen=True)
class Method:
    """A named combination of objective, feedback, curriculum and rollout.

    Args:
        citation: where it was published.
        defaults: values for fields of `LatentTrainingArguments` that the user left unset.
    """

    citation: str
    defaults: dict = field(default_factory=dict)


def take_method(name: str, entry) -> Method:
    """Return a preset that a plug-in registers, or that a function without parameters returns."""
    entry = entry() if callable(entry) and not isinstance(entry, type) else entry
    if not isinstance(entry, Method) or not isinstance(entry.citation, str) or not isinstance(entry.defaults, dict):
        raise InputError(
            f"method '{name}' must be Method(citation, defaults), or a function that returns one; got {entry!r}"
        )
    for part, given in entry.defaults.items():
        if isinstance(given, dict) and "name" in given:
            raise InputError(f"method '{name}' sets {part}={given}; set {part} to the name and {part}_options to the rest")
    return entry


OWN = {
    "cot": Method(
        "Wei et al. 2022, Chain-of-Thought Prompting Elicits Reasoning in Large Language Models",
        {"curriculum": "fixed", "num_latents": 0, "keep_steps": True, "markers": False},
    ),
    "no_cot": Method(
        "baseline: question to answer, no reasoning",
        {"curriculum": "fixed", "num_latents": 0, "keep_steps": False, "markers": False},
    ),
    "icot": Method(
        "Deng, Choi & Shieber 2024, From Explicit CoT to Implicit CoT: Learning to Internalize CoT Step by Step",
        {"curriculum": "internalize", "markers": False, "epochs_per_stage": 1},  # paper: 8 tokens an epoch
    ),
    "pause": Method(
        "Goyal et al. 2023, Think before you speak: Training Language Models With Pause Tokens",
        {"curriculum": "fixed", "num_latents": 6, "feedback": "learned"},
    ),
    "answer_only": Method(
        "latents straight after the question, scored on the answer alone",
        {"curriculum": "fixed", "num_latents": 10, "feedback": "hidden", "markers": False, "score_answer_prefix": False},
    ),
    "codi": Method(
        "Shen et al. 2025, CODI: Compressing Chain-of-Thought into Continuous Space via Self-Distillation",
        {
            "curriculum": "fixed",
            "num_latents": 6,
            "objective": "self_distillation",
            "objective_options": {"drop_last_step": True},
            "feedback": "projection",
        },
    ),
    "pccot": Method(
        "Wu et al. 2025, Parallel Continuous Chain-of-Thought with Jacobi Iteration",
        {
            "curriculum": "fixed",
            "num_latents": 24,
            "objective": "self_distillation",
            "objective_options": {"embedding_layer": False},
            "feedback": "hidden",
            "rollout": "jacobi",
            "rollout_options": {"iterations": 3},
        },
    ),
    "kava": Method(
        "Kuzina et al. 2025, KaVa: Latent Reasoning via Compressed KV-Cache Distillation",
        {
            "curriculum": "fixed",
            "num_latents": 24,
            "objective": "kv_distillation",
            "objective_options": {"factor": 10.0, "embedding_layer": False},  # otherwise the defaults of the objective
            "feedback": "projection",
            "rollout": "jacobi",
            "rollout_options": {"iterations": 3},
        },
    ),
    "sim_cot": Method(
        "Wei et al. 2025, SIM-CoT: Supervised Implicit Chain-of-Thought",
        {
            "curriculum": "staged",
            "feedback": "hidden",
            "latents_per_step": 2,
            "max_stage": 3,
            "epochs_per_stage": 3,
            "num_train_epochs": 25,  # as Coconut
            "step_decoder": "copy",
        },
    ),
    "colar": Method(
        "Tan et al. 2025, Think Silently, Think Fast: Dynamic Latent Compression of LLM Reasoning Chains",
        {
            "curriculum": "compressed",
            "curriculum_options": {"max_compression": 5, "max_latents": 64},  # paper: r from 1 to 5
            "objective": "compression",
            "feedback": "gaussian",
            "remaining_steps": "inside",  # the model ends its thought itself
            "speed": "(Thinking speed: {compression})",  # published code
        },
    ),
    "soft_thinking": Method(
        "Zhang et al. 2025, Soft Thinking: Unlocking the Reasoning Potential of LLMs in Continuous Concept Space",
        {"curriculum": "fixed", "num_latents": 6, "feedback": "soft"},
    ),
    "lotus": Method(
        "Fan, Svete & Lee 2026, Bridging the Gap Between Latent and Explicit Reasoning with Looped Transformers",
        {
            "curriculum": "staged",
            "feedback": "hidden",
            "latents_per_step": 13,  # published code for GPT-2; 25 for Llama, whose recipes set it
            "max_stage": 6,
            "pad_latent_to_max": True,
            "epochs_per_stage": 1,
            "num_train_epochs": 30,  # published code for GPT-2 and Llama 3B; 100 for Llama 1B
            "objective": "latent_tokens",
            "objective_options": {"targets": "step_tokens", "weight": 0.05},
            "rollout": "looped",
            "rollout_options": {"iterations": "stage", "injection": "add"},
        },
    ),
    "mux": Method(
        "Suleymanzade et al. 2026, MUX: Continuous Reasoning via Multiplexed Tokens",
        {
            "curriculum": "fixed",
            "num_latents": 6,
            "feedback": "hidden",
            "objective": "latent_tokens",
            "objective_options": {"targets": "superposed"},  # rho 0.9, tau 1, which are defaults
        },
    ),
    "coconut": Method(
        "Hao et al. 2024, Training Large Language Models to Reason in a Continuous Latent Space",
        {
            "curriculum": "staged",
            "feedback": "hidden",
            "latents_per_step": 2,
            "max_stage": 3,
            "epochs_per_stage": 3,  # paper
            "num_train_epochs": 25,  # published code: 25 epochs in all, those over in the last stage
        },
    ),
    "coconut_mixed": Method(
        "arXiv 2602.22441: Coconut's curriculum with earlier stages mixed in",
        {
            "curriculum": "staged",
            "feedback": "hidden",
            "latents_per_step": 2,
            "max_stage": 3,
            "epochs_per_stage": 3,
            "num_train_epochs": 25,  # these as Coconut
            "mixed_stages": True,
        },
    ),
    "lt_tuning": Method(
        "Liu, Min & Cheng 2026, Latent Thoughts Tuning: Bridging Context and Reasoning with Fused Information in "
        "Latent Tokens",
        {
            "curriculum": "staged",
            "feedback": "fused",
            "latents_per_step": 2,
            "max_stage": 3,
            "epochs_per_stage": 3,
            "num_train_epochs": 25,  # these as Coconut; the paper puts latents where the model is unsure
        },
    ),
}
METHODS = Registry("method", OWN, take_method)
