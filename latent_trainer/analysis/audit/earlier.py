"""What earlier commands have found of the same model and problems: the answers of an evaluation, the traces of a probe."""

from pathlib import Path

import torch

from latent_trainer.analysis.audit.battery import FREE
from latent_trainer.analysis.traces import Traces
from latent_trainer.data.template import resolve_template
from latent_trainer.errors import InputError
from latent_trainer.evaluation.controls import CONTROLS
from latent_trainer.evaluation.evaluator import Evaluator
from latent_trainer.evaluation.generation import Answer
from latent_trainer.evaluation.record import data_hash


def answers_of(evaluator: Evaluator, record: str) -> dict[str, dict[tuple[str, int], Answer]]:
    """Return the answers that ``latent-trainer evaluate`` has left beside its record, by what the audit calls them.

    Args:
        evaluator: of the audit.
        record: ``output`` of the evaluation.

    Raises:
        InputError: there are none, they are of other settings, or their thoughts are of no given length.
    """
    if evaluator.model.config.open_thought:
        raise InputError("evaluated: the model ended the thoughts of its evaluation itself; leave it out")
    folder, found = Path(record).with_suffix(".answers"), {}
    for condition in ("intact", *CONTROLS):
        if not (folder / f"{condition}.jsonl").is_file():
            continue
        try:
            journal = evaluator.journal(condition, evaluator.num_latents, folder)
        except InputError as error:
            what = str(error).partition(";")[0]  # what follows is advice to whoever evaluates
            raise InputError(f"evaluated={record} does not fit this audit: {what}; leave it out") from error
        found[f"{FREE}/{condition}"] = journal.answers
    if not found:
        raise InputError(f"evaluated={record}: no answers lie beside it, in {folder}; leave it out, or evaluate again")
    return found


def thoughts_of(evaluator: Evaluator, folder: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the latents (N, K, H) that a probe has traced, and the last hidden states (N, K, H) they are thought from.

    Args:
        evaluator: of the audit.
        folder: of the traces.

    Raises:
        InputError: traces of another model, other problems or other settings.
        FileNotFoundError: no traces there.
    """
    traces = Traces(folder)
    wanted = {
        "model": evaluator.model_id,
        "data_hash": data_hash(evaluator.problems),
        "num_latents": evaluator.num_latents,
        "template": resolve_template(evaluator.template).to_dict(),
    }
    differing = [name for name, value in wanted.items() if traces.header.get(name) != value]
    if differing:
        raise InputError(f"traces={folder} are of another audit (other {', '.join(differing)}); leave them out")
    latents, hidden = traces.read("latents"), traces.read("hidden", layer=traces.layers)  # (N, K, H), (N, K + 1, H)
    return torch.from_numpy(latents), torch.from_numpy(hidden[:, : traces.num_latents])
