"""Every mutation, by area."""

from in_data import DATA
from in_evaluation import EVALUATION
from in_forward import FORWARD
from in_rollout import ROLLOUT
from in_saving import SAVING
from in_training import TRAINING
from mutation import Mutation

AREAS: dict[str, list[Mutation]] = {
    "rollout": ROLLOUT,
    "forward": FORWARD,
    "training": TRAINING,
    "saving": SAVING,
    "evaluation": EVALUATION,
    "data": DATA,
}
