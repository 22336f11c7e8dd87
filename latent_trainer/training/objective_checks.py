"""What an objective gives back, checked where it is used: views, counts, sums and terms.

Every check takes ``what``, which begins its message ("objective 'mine'"), and raises an `InputError` in one line.
"""

import torch

from latent_trainer.data.encoding import View
from latent_trainer.errors import InputError
from latent_trainer.methods.objectives.contract import Objective


def check_views(what: str, views, objective: Objective, latent: int) -> dict[str, View]:
    """Return the views of a row, an `InputError` where the model could not read those that are needed.

    Args:
        what: see above.
        views: what ``make_views`` returned.
        objective: whose ``needs`` say which views are read.
        latent: id of ``<|latent|>``; only the first view that is read may hold it.
    """
    if not isinstance(views, dict) or not all(isinstance(view, View) for view in views.values()):
        raise InputError(f"{what}: make_views returns {_kinds(views)}; return a dictionary, name -> View")
    for needs in (objective.needs, objective.sums_needs or objective.needs):
        for number, name in enumerate(needs.views):
            if name not in views:
                raise InputError(
                    f"{what} needs the view '{name}', and make_views returns {', '.join(views) or 'none'}; make it, or "
                    "leave it out of needs"
                )
            if number > 0 and latent in views[name].input_ids:
                raise InputError(f"{what}: view '{name}' holds latents; name it first in needs, as only that view thinks")
    for name, view in views.items():
        for group in view.groups:
            if not (group.token_ids and 0 <= group.column < min(view.answer_start, len(view.input_ids) - 2)):
                raise InputError(
                    f"{what}: view '{name}' has a group of {len(group.token_ids)} tokens in column {group.column}, with "
                    f"answer_start={view.answer_start} and {len(view.input_ids)} input_ids; give it a token at least and a "
                    "column before the answer, two before the last"
                )
        tokens = len(view.input_ids)
        if tokens == 0 or len(view.labels) != tokens or not 0 <= view.answer_start < tokens:
            raise InputError(
                f"{what}: view '{name}' has {tokens} input_ids, {len(view.labels)} labels and answer_start="
                f"{view.answer_start}; give it a token at least, a label for each and an answer_start among them"
            )
        if view.steps_end is not None and not 0 <= view.steps_end <= view.answer_start:
            raise InputError(
                f"{what}: view '{name}' has steps_end={view.steps_end} and answer_start={view.answer_start}; let steps end "
                "where the answer starts or before, or leave steps_end out"
            )
    return views


def check_counts(what: str, counts, taken: dict[str, int]) -> dict[str, int]:
    """Return what an objective counts of a batch; refuses names that are counted already, and no whole numbers."""
    whole = isinstance(counts, dict) and all(
        isinstance(number, int | float | torch.Tensor) and number == number // 1 for number in counts.values()
    )
    if not whole:
        raise InputError(f"{what}: count(batch) returns {counts!r}; return a dictionary of whole numbers")
    for name in counts:
        if name in taken:
            raise InputError(f"{what}: count(batch) returns '{name}', which is counted already; give it another name")
    return {name: int(number) for name, number in counts.items()}


def check_sums(what: str, sums) -> dict[str, torch.Tensor]:
    """Return the sums of a batch; refuses what is no dictionary of tensors."""
    if not isinstance(sums, dict) or not all(isinstance(value, torch.Tensor) for value in sums.values()):
        raise InputError(f"{what}: sums(step) returns {_kinds(sums)}; return a dictionary of tensors")
    return sums


def check_terms(what: str, terms, taken: dict | None = None) -> dict[str, torch.Tensor]:
    """Return the terms of a batch; refuses what is no dictionary of single numbers.

    Args:
        what: see above.
        terms: what ``forward`` returned.
        taken: terms that others have added.
    """
    if not isinstance(terms, dict) or not terms:
        found = "no terms" if isinstance(terms, dict) else type(terms).__name__
        raise InputError(f"{what} returns {found}; return a dictionary of terms")
    for name, term in terms.items():
        if not isinstance(term, torch.Tensor) or term.ndim > 0:
            found = f"a tensor {tuple(term.shape)}" if isinstance(term, torch.Tensor) else type(term).__name__
            raise InputError(f"{what}: term '{name}' is {found}; return a tensor with one number")
        if name in (taken or ()):
            raise InputError(f"{what}: term '{name}' has the name of the step decoder's; give it another name")
    return terms


def _kinds(value) -> str:
    """Return what something is, and of a dictionary what it holds."""
    if not isinstance(value, dict):
        return type(value).__name__
    return "{" + ", ".join(f"{name!r}: {type(one).__name__}" for name, one in value.items()) + "}"
