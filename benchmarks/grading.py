"""What `latent-trainer evaluate` costs beyond ``generate``, and how long a thousand hostile answers take to grade.

Run: python benchmarks/grading.py [--shape smollm2-135m] [--problems 1319] [--batch 32] [--data test.jsonl]

The model has random weights, so that it writes nonsense up to the last token. Both figures come from one run: the seconds
of the command, from its problems to its record without loading the model, and those spent in ``generate`` by then. Without
--data the questions are generated word problems. Hostile answers are those of tests/grading/hostile_outputs.py; their
seconds are of processor time.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import ROOT, SHAPES, argument_parser, make_model, positive, record_name, write

from latent_trainer import LatentForCausalLM
from latent_trainer.cli import evaluate
from latent_trainer.cli import main as latent_trainer
from latent_trainer.data import as_problems, load_problems
from latent_trainer.data.thought_tokens import add_thought_tokens
from latent_trainer.data.tokenizer import train_tokenizer

NEW_TOKENS = 16
HOSTILE = ROOT / "tests" / "grading" / "hostile_outputs.py"


class Clock:
    """Counts the seconds spent in a function of an owner while it stands in for it.

    Args:
        owner: a class or module.
        name: of the function.
    """

    def __init__(self, owner, name: str):
        self.owner, self.name, self.own, self.seconds, self.calls = owner, name, getattr(owner, name), 0.0, 0

    def __enter__(self) -> "Clock":
        def timed(*args, **kwargs):
            began = time.perf_counter()
            try:
                return self.own(*args, **kwargs)
            finally:
                self.seconds += time.perf_counter() - began
                self.calls += 1

        setattr(self.owner, self.name, timed)
        return self

    def __exit__(self, *error):
        setattr(self.owner, self.name, self.own)


def evaluated(args, folder: Path) -> dict[str, float]:
    """Return the seconds of one evaluation by part."""
    data = {"dataset_path": args.data} if args.data else {"dataset_options": json.dumps({"size": args.problems})}
    data["dataset"] = "gsm8k" if args.data else "stories"
    own = {"path": args.data} if args.data else {"size": args.problems}
    asked = as_problems(load_problems(data["dataset"], "test", **own))[: args.problems]
    tokenizer = train_tokenizer([problem.question for problem in asked], min(2_000, SHAPES[args.shape]["vocab_size"] - 3))
    ids = add_thought_tokens(tokenizer, "<|bot|>", "<|eot|>")
    model = make_model(args.shape, args.dtype, ids=ids)
    model.config.num_latents = 6
    model.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    del model
    words = ["--model", str(folder / "model"), "--output", str(folder / "record.json"), "--batch_size", str(args.batch)]
    words += ["--max_new_tokens", str(NEW_TOKENS), "--max_eval_problems", str(args.problems)]
    words += [word for name, value in data.items() for word in (f"--{name}", value)]
    with Clock(LatentForCausalLM, "generate") as generating, Clock(evaluate, "_load") as loading:
        began = time.perf_counter()
        latent_trainer("evaluate", words)
        seconds = time.perf_counter() - began - loading.seconds
    return {"problems": args.problems, "evaluate_seconds": seconds, "generate_seconds": generating.seconds}


def main() -> None:
    """Measure and write results/benchmarks/grading-SHAPE.json."""
    parser = argument_parser(__doc__, without=("rounds",))
    parser.set_defaults(shape="smollm2-135m", batch=32)
    parser.add_argument("--problems", type=positive, default=1_319, help="as many as GSM8K has in its test split")
    parser.add_argument("--data", help="the published GSM8K test.jsonl")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        row = evaluated(args, Path(folder))
    row["beyond_generate"] = row["evaluate_seconds"] / row["generate_seconds"] - 1
    done = subprocess.run(
        [sys.executable, str(HOSTILE)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=True,
    )
    compared, threads = (json.loads(line) for line in done.stdout.splitlines() if line.startswith("{"))
    print(f"evaluate costs {100 * row['beyond_generate']:.1f} % beyond generate; hostile answers: {compared}, {threads}")
    config = {"data": args.data and Path(args.data).name, "new_tokens": NEW_TOKENS}
    rows = {"evaluate": row, "pairs": compared, "answers": threads}
    write(record_name("grading", args), rows, config, args)


if __name__ == "__main__":
    main()
