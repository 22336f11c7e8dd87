"""A page of the browser for one model: question in, answer out, and what its latents hold; the extra ``app``."""
