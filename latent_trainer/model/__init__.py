"""The model: a causal language model that thinks, its configuration, saving and loading."""
