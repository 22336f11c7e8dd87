"""Pushing from the trainer: the stock switches and method, with this library's way of publishing a folder."""

from concurrent.futures import Future
from functools import partial
from pathlib import Path

from huggingface_hub import CommitInfo, HfApi
from peft import PeftModel

from latent_trainer.compat import save_without_push
from latent_trainer.hub.push import push_folder
from latent_trainer.hub.settings import write_training_arguments
from latent_trainer.model.adapters import latent_model


class Publishing:
    """What a trainer answers to ``push_to_hub``; comes before `Trainer`, which would push pickles in several commits."""

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        """Save the model with readable arguments, and beside an adapter the settings it needs and was trained with."""
        super()._save(output_dir, state_dict)
        if self.args.should_save:
            folder = output_dir or self.args.output_dir
            write_training_arguments(self.args, folder)
            model = self.accelerator.unwrap_model(self.model)
            latent_model(model).generation_config.save_pretrained(folder)
            if isinstance(model, PeftModel):
                latent_model(model).config.save_pretrained(folder)

    def push_to_hub(
        self,
        commit_message: str | None = "End of training",
        blocking: bool = True,
        token: str | None = None,
        revision: str | None = None,
        private: bool | None = None,
        **kwargs,
    ) -> CommitInfo | Future | None:
        """Save the model and push it with its code, card, tokenizer and results, as one commit (`push_folder`).

        Args:
            commit_message: first line of the commit.
            blocking: whether to wait; otherwise the first process gets a future.
            token, revision, private: by default ``hub_token``, ``hub_revision`` and ``hub_private_repo`` of the arguments.
            kwargs: ``merge``, ``dataset`` and ``license`` of `push_folder`.

        Returns:
            The commit, on the first process; None on others.
        """
        args, output_dir = self.args, Path(self.args.output_dir)
        self._finishes = True
        save_without_push(self)  # a finished model, and no second push
        self.save_state()
        if not self.is_world_process_zero():
            return None
        push = partial(
            push_folder,
            output_dir,
            args.hub_model_id or output_dir.absolute().name,
            commit_message=commit_message,
            token=token or args.hub_token,
            revision=revision or args.hub_revision,
            private=args.hub_private_repo if private is None else private,
            **kwargs,
        )
        return push() if blocking else HfApi().run_as_future(push)

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        """Push nothing while training runs; ``hub_strategy`` counts as ``end``."""
