"""Run a sweep: python recipes/sweep.py SWEEP.yaml."""

from latent_trainer.cli import main

if __name__ == "__main__":
    main("sweep")
