"""A Space next to a published model: the page of `latent-trainer view`, run by the Hub."""

from huggingface_hub import CommitOperationAdd, HfApi

from latent_trainer.version import __version__

PORT = 7860  # where the Hub looks for a Space
APP = '''"""The thoughts of {model}, as `latent-trainer view` shows them."""

from latent_trainer.cli import main

main("view", ["--model", "{model}", "--host", "0.0.0.0", "--port", "{port}"])
'''
CARD = """---
title: Thoughts of {name}
sdk: gradio
sdk_version: {gradio}
app_file: app.py
models:
- {model}
---

Ask [{model}](https://huggingface.co/{model}) a question and see what its latents hold.
"""
GRADIO = "6.31.0"  # the release the page is tested with


def space_files(repo_id: str) -> dict[str, bytes]:
    """Return the files of the Space that shows a model.

    Args:
        repo_id: "me/name" of the model.
    """
    card = CARD.format(model=repo_id, name=repo_id.split("/")[-1], gradio=GRADIO)
    files = {
        "README.md": card,
        "app.py": APP.format(model=repo_id, port=PORT),
        "requirements.txt": f"latent_trainer[app]=={__version__}\n",
    }
    return {name: text.encode() for name, text in files.items()}


def push_space(api: HfApi, repo_id: str) -> str:
    """Publish the Space of a model under the model's own name, in one commit; return where it can be seen.

    Args:
        api: client with a token that may write.
        repo_id: "me/name" of the model.
    """
    files = space_files(repo_id)
    url = api.create_repo(repo_id, repo_type="space", space_sdk="gradio", exist_ok=True)
    operations = [CommitOperationAdd(name, content) for name, content in files.items()]
    api.create_commit(repo_id, operations, commit_message="Upload page", repo_type="space")
    return str(url)
