"""Publish a trained model as one commit: nothing is visible on the Hub before everything has been sent."""

import fnmatch
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import CommitInfo, CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import (
    HFValidationError,
    HTTPError,
    LocalTokenNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from latent_trainer.errors import InputError
from latent_trainer.hub.card import model_card
from latent_trainer.hub.folder import ADAPTER, published, refuse_leaks
from latent_trainer.hub.space import push_space
from latent_trainer.local_names import repository
from latent_trainer.version import __version__

# What a push replaces: an earlier push may have left more shards, an adapter where a model stands now, or other code.
REPLACED = (
    "*.safetensors",
    "*.safetensors.index.json",
    ADAPTER,
    "generation_config.json",
    "latent_*.py",
    "results/*.json",
    "*_arguments.json",
    "learning_curve.png",
)


def push_folder(
    folder: str | Path,
    repo_id: str,
    *,
    private: bool | None = None,
    merge: bool = False,
    dataset: str | None = None,
    license: str | None = None,
    token: str | None = None,
    revision: str | None = None,
    commit_message: str = "Upload model",
    space: bool = False,
) -> CommitInfo:
    """Push a folder that training left: a model or an adapter, with its code, card, tokenizer and results.

    Files go up first and one commit at the end makes them visible, so a push that fails leaves the repository as it was and
    can be repeated; files that have not changed are not sent again.

    Args:
        folder: what `LatentTrainer.save_model` wrote.
        repo_id: "me/name"; "name" alone belongs to the token's owner. Created where there is none.
        private: whether a new repository is private; True also refuses an existing public one. None leaves it to the Hub.
        merge: push an adapter merged into the model it was trained on.
        dataset: what it was trained on, a key of ``DATASETS`` or a name on the Hub; `latent-trainer train` keeps it itself.
        license: identifier of the Hub; by default that of the base model, where the Hub states one.
        token: by default the one saved by ``hf auth login`` or in ``HF_TOKEN``.
        revision: an existing branch; by default the main one.
        commit_message: first line of the commit.
        space: also push a Space of the same name, a page that shows the model's thoughts (`latent-trainer view`).

    Raises:
        InputError: a folder that cannot be published, or what the Hub refused and what to change.
    """
    for name, value in (("private", private), ("revision", revision)):
        if space and value:
            raise InputError(f"a Space shows what is public and on the main branch; leave out space, or {name}={value}")
    api = HfApi(token=token, library_name="latent_trainer", library_version=__version__)
    with tempfile.TemporaryDirectory() as scratch, _explained(repo_id):
        if "/" not in repo_id:
            repo_id = f"{api.whoami()['name']}/{repo_id}"
        found = published(Path(folder), merge, Path(scratch))
        found.data |= {"dataset": dataset} if dataset else {}
        license = license or _license(api, repository(found.config.base_name_or_path))
        files = {**found.files, "README.md": model_card(found, repo_id, license).encode()}
        refuse_leaks(files, Path(folder))
        api.create_repo(repo_id, private=private, exist_ok=True)
        if private and not api.model_info(repo_id).private:
            raise InputError(f"{repo_id} exists and is public; make it private on the Hub, or choose another repo_id")
        old = api.list_repo_files(repo_id, revision=revision)
        stale = [name for name in old if name not in files and _replaced(name)]
        operations: list[CommitOperationAdd | CommitOperationDelete] = [
            CommitOperationAdd(name, content) for name, content in sorted(files.items())
        ]
        operations += [CommitOperationDelete(name) for name in stale]
        # not `upload_folder`, which splits a folder over several commits
        done = api.create_commit(repo_id, operations, commit_message=commit_message, revision=revision)
        if space:
            push_space(api, repo_id)
        return done


def _replaced(name: str) -> bool:
    """Return whether a file of the repository belongs to an earlier push; what others put into folders stays."""
    return any(fnmatch.fnmatch(name, kind) and name.count("/") == kind.count("/") for kind in REPLACED)


def _license(api: HfApi, base: str) -> str | None:
    """Return the licence the Hub states for a base model; None where it states none or shows no such model."""
    if not base:
        return None
    try:
        card = api.model_info(base).card_data
    except RepositoryNotFoundError:
        return None
    return card.get("license") if card else None


@contextmanager
def _explained(repo_id: str) -> Iterator[None]:
    """Turn what the Hub answers into one line that says what to change; requests, and with them the token, stay out."""
    try:
        yield
    except LocalTokenNotFoundError:
        raise InputError(f"pushing {repo_id} needs a token; run hf auth login, or set HF_TOKEN") from None
    except HFValidationError as error:
        raise InputError(f"repo_id={repo_id} is not the name of a repository; {str(error).splitlines()[0]}") from None
    except RevisionNotFoundError:
        raise InputError(f"{repo_id} has no such branch; create it on the Hub, or leave out revision") from None
    except HTTPError as error:
        raise InputError(_advice(repo_id, error)) from None
    except (RuntimeError, ValueError) as error:  # how `huggingface_hub` wraps trouble with a large file, or with a card
        if not isinstance(error.__cause__, HTTPError):
            raise
        card = isinstance(error, ValueError)
        raise InputError(" ".join(str(error).split()) if card else _advice(repo_id, error.__cause__)) from None


def _advice(repo_id: str, error: HTTPError) -> str:
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status == 401:
        return f"the Hub does not accept the token for {repo_id}; run hf auth login, or set HF_TOKEN to one that may write"
    if status in (403, 404):
        return f"the token may not write to {repo_id} (HTTP {status}); use one that may, or a repo_id of your own"
    if status is not None and status < 500:
        return f"the Hub refused {repo_id} (HTTP {status}); nothing was published: {_reason(error)}"
    why = f"HTTP {status}" if status else type(error).__name__
    return f"the Hub could not be reached or failed ({why}); nothing was published in {repo_id}, run the same command again"


def _reason(error: HTTPError) -> str:
    return " ".join(str(getattr(error, "server_message", None) or error).split())
