"""Two steps of reinforcement learning over a saved model, for `test_two_processes_reinforce.py`.

Arguments: FOLDER OUT ROWS POLICY STRATEGY.
"""

import sys
from types import SimpleNamespace

import torch
from reinforced import different, make
from safetensors.torch import save_file
from train_and_evaluate import allow_cpu
from transformers import AutoTokenizer

from latent_trainer import load_problems

if __name__ == "__main__":
    folder, out, rows, policy, strategy = sys.argv[1:]
    allow_cpu()
    # DeepSpeed shares out the state of optimizers it knows, and has no float64
    settings = {"optim": "sgd", "learning_rate": 0.1, "model_init_kwargs": {"dtype": "float64"}}
    settings = settings if strategy == "cpu" else {"optim": "adamw_torch", "learning_rate": 1e-3, "adam_epsilon": 1e-3}
    torch.set_num_threads(1)
    saved = SimpleNamespace(folder=folder, tokenizer=AutoTokenizer.from_pretrained(folder))
    trainer = make(
        saved,
        out,
        reward=different,
        dataset=load_problems("arithmetic", "train", size=16, operations=2),
        policy=policy,
        per_device_train_batch_size=int(rows),
        generation_kwargs={"top_k": 1},  # what is written follows from the thought, whichever process writes it
        **settings,
    )
    trainer.train()
    if trainer.is_world_process_zero():
        model = trainer.accelerator.unwrap_model(trainer.model)
        weights = {name: value.detach().contiguous().clone() for name, value in model.named_parameters()}
        save_file(weights, f"{out}/trained.safetensors")
