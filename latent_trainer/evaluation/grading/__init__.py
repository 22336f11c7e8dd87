"""Reading and comparing answers; `latent_trainer.evaluation.answers` is the front door."""
