"""More for shorter answers, thoughts included, among the right answers to one prompt."""

from latent_trainer.errors import InputError
from latent_trainer.options import Share, checked
from latent_trainer.rl.rewards.contract import Reward


class LengthReward(Reward):
    """Of the right answers to a prompt, 1 for the shortest, 0 for the longest, and in between in proportion.

    A length is latents and written tokens together. Wrong answers get 0, and so does everyone in a group of which less than
    ``bar`` is right, or whose right answers are all as long: there is nothing to save before the answers are right.

    Args:
        tokenizer, template: as for `Reward`.
        bar: share of right answers from which on a group is rewarded.
    """

    @checked
    def __init__(self, tokenizer, template, bar: Share = 0.5):
        super().__init__(tokenizer, template)
        self.bar = bar

    def __call__(self, completion_ids, **columns) -> list[float | None]:
        """Return N rewards; as `Reward.__call__`.

        Raises:
            InputError: the answers to one prompt lie on several processes.
        """
        group = columns["group_size"][0]
        if len(completion_ids) % group:
            raise InputError(
                f"reward=length compares the {group} answers to a prompt, and this process has {len(completion_ids)}; "
                "make per_device_train_batch_size x steps_per_generation a multiple of num_generations"
            )
        right = [grade["correct"] for grade in self.grades(completion_ids, columns)]
        latents = columns.get("num_latents", [0] * len(right))
        lengths = [number + len(tokens) for number, tokens in zip(latents, completion_ids, strict=True)]
        rewards: list[float | None] = []
        for start in range(0, len(right), group):
            rewards += self._of_group(right[start : start + group], lengths[start : start + group])
        return rewards

    def _of_group(self, right: list[bool], lengths: list[int]) -> list[float]:
        counted = [length for length, is_right in zip(lengths, right, strict=True) if is_right]
        if not counted or sum(right) < self.bar * len(right) or min(counted) == max(counted):
            return [0.0] * len(right)
        longest, spread = max(counted), max(counted) - min(counted)
        return [(longest - length) / spread * is_right for length, is_right in zip(lengths, right, strict=True)]
