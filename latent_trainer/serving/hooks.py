"""Every place where vLLM is reached into, beside its public model registry. Read in vLLM 0.32.0.

- ``model_executor/models/config.py``, ``MODELS_CONFIG_MAP``: settings that an architecture needs, before it is loaded.
- ``engine/arg_utils.py``, ``EngineArgs.create_engine_config``: the first thing that ``vllm serve`` and ``LLM`` call.
- ``v1/core/sched/scheduler.py``, ``Scheduler._reserve_prefill_lookahead``: shortens a step of running and waiting requests.
- ``v1/engine/input_processor.py``, ``InputProcessor._validate_model_inputs``: refuses a request before the engine has it,
  by ``exceptions.py``, ``VLLMValidationError``.
- ``forward_context.py``, ``ForwardContext.attn_metadata`` and ``.slot_mapping``: the slots of a step's columns.
- ``v1/attention/backends/cpu_attn.py`` and ``flash_attn.py``, ``query_start_loc``, ``block_table`` and
  ``num_actual_tokens``: the rows of a step, the slot before each, and where padding begins.
- ``v1/worker/gpu_model_runner.py``: calls ``compute_logits`` after a step for the tokens that are drawn, and only then for
  the log-probabilities of a prompt.
- ``model_executor/models/utils.py``, ``init_vllm_registered_model`` and ``AutoWeightsLoader``: vLLM's own base model.
- ``config/model.py``, ``ModelConfig.try_get_generation_config``: tokens that are never written.

vLLM is imported within the functions: the entry point runs before vLLM has chosen its platform.
"""

import sys
from collections.abc import Callable
from functools import wraps
from typing import NamedTuple

import torch
from transformers import AutoConfig

from latent_trainer.errors import InputError
from latent_trainer.methods.feedback import FEEDBACKS
from latent_trainer.model.configuration import ARCHITECTURE, LatentConfig
from latent_trainer.serving.checks import latent_settings, refuse_model, refuse_prompt, refuse_settings
from latent_trainer.serving.steps import ThoughtTokens

SCHEDULER = "latent_trainer.serving.scheduler.LatentScheduler"
MODEL = "latent_trainer.serving.model:LatentModel"


def register_latent_models() -> None:
    """Tell vLLM of the configuration, the architecture, and what is to be refused; a second time does nothing."""
    from vllm.engine.arg_utils import EngineArgs
    from vllm.model_executor.models import ModelRegistry
    from vllm.model_executor.models.config import MODELS_CONFIG_MAP
    from vllm.v1.engine.input_processor import InputProcessor

    if ARCHITECTURE in MODELS_CONFIG_MAP:
        return
    AutoConfig.register(LatentConfig.model_type, LatentConfig, exist_ok=True)
    ModelRegistry.register_model(ARCHITECTURE, MODEL)
    MODELS_CONFIG_MAP[ARCHITECTURE] = LatentSettings
    EngineArgs.create_engine_config = _checked_settings(EngineArgs.create_engine_config)
    InputProcessor._validate_model_inputs = _checked_prompts(InputProcessor._validate_model_inputs)
    _say_in_one_line()


class LatentSettings:
    """What vLLM asks of an architecture once its own settings are known."""

    @staticmethod
    def verify_and_update_model_config(model_config) -> None:
        """Leave the model's own settings as they are."""

    @staticmethod
    def verify_and_update_config(vllm_config) -> None:
        """Let thoughts be scheduled."""
        vllm_config.model_config.enforce_eager = True  # what a step does depends on its tokens
        scheduler = vllm_config.scheduler_config
        scheduler.async_scheduling = False
        scheduler.enable_chunked_prefill = True
        scheduler.scheduler_cls = scheduler.scheduler_cls or SCHEDULER


def _checked_settings(stock: Callable) -> Callable:
    """Return how vLLM makes its settings, after a look at the model and before one at them; errors of ours are not wrapped.

    vLLM's settings are checked by pydantic, which would make several lines of an `InputError` within.
    """

    @wraps(stock)
    def create_engine_config(self, *args, **kwargs):
        settings = latent_settings(self.model, self.revision)
        if settings is not None:
            refuse_model(settings, self.model)
        made = stock(self, *args, **kwargs)
        if settings is not None:
            refuse_settings(
                {
                    "several devices a model": made.parallel_config.world_size > 1,
                    "speculative decoding": made.speculative_config is not None,
                    "LoRA adapters at run time": made.lora_config is not None,
                    "a KV connector": made.kv_transfer_config is not None,
                    "prompt embeddings": made.model_config.enable_prompt_embeds,
                    "the V2 model runner": made.use_v2_model_runner,
                    "a runner that pools": made.model_config.runner_type != "generate",
                    "a scheduler of your own": made.scheduler_config.scheduler_cls != SCHEDULER,
                }
            )
        return made

    return create_engine_config


def _checked_prompts(stock: Callable) -> Callable:
    """Return how vLLM looks at a request's tokens, after a look at its latents."""
    from vllm.exceptions import VLLMValidationError

    @wraps(stock)
    def validate(self, encoder_input, decoder_input):
        config = self.model_config.hf_config
        if config.model_type == LatentConfig.model_type and thinks_in_steps(config):
            try:
                refuse_prompt(decoder_input.get("prompt_token_ids"), thought_tokens(config))
            except InputError as error:
                raise VLLMValidationError(str(error)) from None  # the error that a server answers as the asker's own
        return stock(self, encoder_input, decoder_input)

    return validate


def thought_tokens(config: LatentConfig) -> ThoughtTokens:
    """Return the thought tokens of a model."""
    return ThoughtTokens(config.latent_token_id, config.bot_token_id, config.eot_token_id)  # type: ignore[arg-type]


def thinks_in_steps(config: LatentConfig) -> bool:
    """Whether latents grow from the hidden state before them; learned embeddings do not."""
    return FEEDBACKS[config.feedback].sequential


class Step(NamedTuple):
    """The columns of one step, those of a request one after the other.

    Args:
        slots: (N,) of the columns.
        starts: (R + 1,) where each request's columns begin, and N.
        previous: (R,) the slot of the column before each request's first; -1 at the start of a row.
    """

    slots: torch.Tensor
    starts: torch.Tensor
    previous: torch.Tensor


def step_at(positions: torch.Tensor, block_size: int) -> Step | None:
    """Return the step that vLLM is at; None where it only measures the model.

    Args:
        positions: (N,) of the columns.
        block_size: slots of a block of the cache.

    Raises:
        RuntimeError: an attention backend that says it in another way.
    """
    from vllm.forward_context import get_forward_context

    context = get_forward_context()
    if not context.attn_metadata:
        return None
    layer = next(name for name in context.attn_metadata if name in context.slot_mapping)
    rows, slots = context.attn_metadata[layer], context.slot_mapping[layer].long()
    if not hasattr(rows, "block_table") or not hasattr(rows, "query_start_loc"):
        raise RuntimeError(f"{type(rows).__name__} has no block_table and query_start_loc; use another attention backend")
    slots, starts = slots[: rows.num_actual_tokens], rows.query_start_loc.long()
    filled = (starts[1:] > starts[:-1]).nonzero().flatten()  # (R,): padding has no columns
    begins = starts[filled]  # (R,)
    position = positions[begins]  # (R,)
    table = rows.block_table[filled].long()  # (R, blocks)

    def slot(position: torch.Tensor) -> torch.Tensor:
        block = table.gather(1, (position // block_size).clamp(min=0).unsqueeze(1)).squeeze(1)  # (R,)
        return block * block_size + position % block_size

    if not torch.equal(slot(position), slots[begins]):
        raise RuntimeError(
            "vLLM numbers the slots of its cache in a way that was not read yet; use the release it was read in"
        )
    previous = torch.where(position > 0, slot((position - 1).clamp(min=0)), -1)
    return Step(slots, torch.cat([begins, starts[-1:]]), previous)


def make_base(vllm_config, config: LatentConfig, prefix: str) -> torch.nn.Module:
    """Return vLLM's own implementation of the base model."""
    from vllm.model_executor.models.utils import init_vllm_registered_model, maybe_prefix

    return init_vllm_registered_model(vllm_config, hf_config=config.base_config, prefix=maybe_prefix(prefix, "base"))


def load_into(model: torch.nn.Module, weights) -> set[str]:
    """Load a latent model's weights; what serves training alone is left out."""
    from vllm.model_executor.models.utils import AutoWeightsLoader

    needed = ((name, weight) for name, weight in weights if name.partition(".")[0] in ("base", "feedback"))
    return AutoWeightsLoader(model).load_weights(needed)


def never_written(vllm_config, tokens: ThoughtTokens) -> list[int]:
    """Return the tokens that only a prompt may hold, as generation leaves them out."""
    settings = vllm_config.model_config.try_get_generation_config()
    return sorted({tokens.latent, tokens.bot, *(settings.get("suppress_tokens") or ())})


def _say_in_one_line() -> None:
    """Let a process that ends because of an `InputError` say it without a traceback, as the command line does."""
    stock = sys.excepthook

    def say(kind, error, trace):
        if isinstance(error, InputError):
            print(f"error: {error}", file=sys.stderr)
        else:
            stock(kind, error, trace)

    sys.excepthook = say
