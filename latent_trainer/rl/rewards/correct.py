"""1 for a right answer, by the grader of evaluation."""

from latent_trainer.rl.rewards.contract import Reward


class CorrectReward(Reward):
    """1 where evaluation would count the answer as right, else 0.

    The grader is that of evaluation, and so are its limits: formulas are compared in processes of their own, which are ended
    where they take too long (`latent_trainer.evaluation.grading.workers`).
    """

    def __call__(self, completion_ids, **columns) -> list[float | None]:
        """Return N rewards; as `Reward.__call__`."""
        return [float(grade["correct"]) for grade in self.grades(completion_ids, columns)]
