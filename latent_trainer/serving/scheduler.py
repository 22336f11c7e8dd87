"""vLLM's scheduler, which lets no step run past the next latent of a request."""

from vllm.v1.core.sched.scheduler import Scheduler

from latent_trainer.serving.hooks import thinks_in_steps, thought_tokens
from latent_trainer.serving.steps import columns_in_step


class LatentScheduler(Scheduler):
    """As the stock scheduler, but every latent is the first column of a step.

    Requests that think, prefill and decode share a step, so that a thought costs others nothing but its own columns.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        config = self.vllm_config.model_config.hf_config
        self._thoughts = thought_tokens(config) if thinks_in_steps(config) else None

    def _reserve_prefill_lookahead(self, request, num_computed_tokens: int, num_new_tokens: int) -> int:
        columns = super()._reserve_prefill_lookahead(request, num_computed_tokens, num_new_tokens)
        if columns <= 1 or self._thoughts is None:
            return columns
        return columns_in_step(request.all_token_ids, num_computed_tokens, columns, self._thoughts)
