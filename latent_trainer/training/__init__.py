"""Training: the Trainer, its arguments, stages, checkpoints and records."""
