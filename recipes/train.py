"""Train a recipe: accelerate launch --config_file accelerate_configs/cpu.yaml recipes/train.py --config RECIPE.yaml."""

from latent_trainer.cli import main

if __name__ == "__main__":
    main("train")
