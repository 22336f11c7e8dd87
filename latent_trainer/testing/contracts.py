"""The checks as classes that pytest collects: derive one, name what is checked."""

from typing import Any, ClassVar

from latent_trainer.plugins import load_plugin
from latent_trainer.testing.curricula import check_curriculum
from latent_trainer.testing.datasets import check_dataset
from latent_trainer.testing.feedbacks import check_feedback
from latent_trainer.testing.measurements import check_control, check_probe
from latent_trainer.testing.objectives import check_objective
from latent_trainer.testing.policies import check_policy
from latent_trainer.testing.rollouts import check_rollout
from latent_trainer.testing.templates import check_template


class Contract:
    """What the contracts share.

    Args:
        plugin: a file or module that is loaded first; None for none.
        options: options of what is checked.
        settings: training arguments it needs.
    """

    plugin: ClassVar[Any] = None
    options: ClassVar[dict] = {}
    settings: ClassVar[dict] = {}

    @classmethod
    def setup_class(cls) -> None:
        """Load the plug-in, as pytest calls it before the tests of a class."""
        if cls.plugin is not None:
            load_plugin(cls.plugin)


class ObjectiveContract(Contract):
    """An ``objective``, by name or class."""

    objective: ClassVar[Any]

    def test_objective(self) -> None:
        """Run `check_objective`."""
        check_objective(self.objective, self.options, **self.settings)


class FeedbackContract(Contract):
    """A ``feedback``, by name or class."""

    feedback: ClassVar[Any]

    def test_feedback(self) -> None:
        """Run `check_feedback`."""
        check_feedback(self.feedback, self.options, **self.settings)


class RolloutContract(Contract):
    """A ``rollout``, by name or class."""

    rollout: ClassVar[Any]

    def test_rollout(self) -> None:
        """Run `check_rollout`."""
        check_rollout(self.rollout, self.options, **self.settings)


class PolicyContract(Contract):
    """A ``policy``, by name or class."""

    policy: ClassVar[Any]

    def test_policy(self) -> None:
        """Run `check_policy`."""
        check_policy(self.policy, self.options, **self.settings)


class CurriculumContract(Contract):
    """A ``curriculum``, by name or class."""

    curriculum: ClassVar[Any]

    def test_curriculum(self) -> None:
        """Run `check_curriculum`."""
        check_curriculum(self.curriculum, self.options)


class DatasetContract(Contract):
    """A ``dataset`` by name, and the ``path`` of the file it reads."""

    dataset: ClassVar[Any]
    path: ClassVar[Any] = None
    template: ClassVar[str] = "coconut"

    def test_dataset(self) -> None:
        """Run `check_dataset`."""
        check_dataset(self.dataset, self.path, self.options, self.template)


class TemplateContract(Contract):
    """A ``template``, by name or as it is."""

    template: ClassVar[Any]

    def test_template(self) -> None:
        """Run `check_template`."""
        check_template(self.template)


class ProbeContract(Contract):
    """A ``probe`` by name."""

    probe: ClassVar[Any]

    def test_probe(self) -> None:
        """Run `check_probe`."""
        check_probe(self.probe)


class ControlContract(Contract):
    """A ``control`` by name."""

    control: ClassVar[Any]

    def test_control(self) -> None:
        """Run `check_control`."""
        check_control(self.control)
