"""``latent-trainer env``: what a bug report needs."""

import json

from latent_trainer.cli.arguments import parse
from latent_trainer.evaluation.record import environment


def run(argv: list[str]) -> None:
    """Print versions, device and commit as JSON."""
    parse("env", (), argv)
    print(json.dumps(environment(), indent=2))
