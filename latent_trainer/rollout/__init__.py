"""Rollouts: how the latents of a row are computed, pass by pass."""
