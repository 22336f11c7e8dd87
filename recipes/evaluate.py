"""Evaluate a saved model: accelerate launch recipes/evaluate.py --model OUT --dataset gsm8k."""

from latent_trainer.cli import main

if __name__ == "__main__":
    main("evaluate")
