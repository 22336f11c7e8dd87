"""1 for an answer in the form the model was taught."""

from latent_trainer.rl.rewards.contract import Reward


class FormatReward(Reward):
    """1 where the text ends by itself and has an answer behind the template's prefix, right or wrong, else 0."""

    def __call__(self, completion_ids, **columns) -> list[float | None]:
        """Return N rewards; as `Reward.__call__`."""
        grades = self.grades(completion_ids, columns)
        pairs = zip(grades, completion_ids, strict=True)
        return [float(grade["strict"] is not None and self.ends(tokens)) for grade, tokens in pairs]
