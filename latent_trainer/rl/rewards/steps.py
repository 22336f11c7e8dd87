"""The share of a problem's steps that an answer writes."""

from latent_trainer.rl.rewards.contract import Reward


class StepsReward(Reward):
    """The share of the problem's steps that stand in the text, one after the other; none for a problem without steps."""

    def __call__(self, completion_ids, **columns) -> list[float | None]:
        """Return N rewards; as `Reward.__call__`."""
        grades, problems = self.grades(completion_ids, columns), self.problems(columns)
        return [self._share(problem.steps, grade["text"]) for problem, grade in zip(problems, grades, strict=True)]

    def _share(self, steps: tuple[str, ...], text: str) -> float | None:
        if not steps:
            return None
        text, found, start = " ".join(text.split()), 0, 0
        for step in steps:
            wanted = " ".join(self.template.step.format(step=step).split())
            place = text.find(wanted, start)
            if place >= 0:
                found, start = found + 1, place + len(wanted)
        return found / len(steps)
