"""Sweeps: many runs of one recipe, on this machine or a cluster. submitit starts them, Optuna keeps what became of them."""
