"""``python -m latent_trainer`` is ``latent-trainer``."""

from latent_trainer.cli import main

if __name__ == "__main__":
    main()
