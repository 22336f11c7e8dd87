"""Reinforce a model: accelerate launch --config_file accelerate_configs/cpu.yaml recipes/reinforce.py --config YAML."""

from latent_trainer.cli import main

if __name__ == "__main__":
    main("reinforce")
