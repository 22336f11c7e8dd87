"""Publish a trained model or adapter: python recipes/push_to_hub.py OUT --repo-id me/name [--private] [--merge]."""

from latent_trainer.cli import main

if __name__ == "__main__":
    main("push")
