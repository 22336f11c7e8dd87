"""Run lm-evaluation-harness: python recipes/harness.py --model latent --model_args pretrained=OUT --tasks gsm8k."""

import sys

from latent_trainer.errors import InputError

if __name__ == "__main__":
    try:
        from latent_trainer.evaluation.harness import main

        main()
    except InputError as error:
        sys.exit(f"harness.py: {error}")
