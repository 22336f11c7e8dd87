"""Look at what latents hold: python recipes/probe.py --model OUT --dataset gsm8k --out results/probes."""

from latent_trainer.cli import main

if __name__ == "__main__":
    main("probe")
