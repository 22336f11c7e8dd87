"""``latent-trainer reward``: train a small model that tells right thoughts from wrong ones, and choose by it."""

from dataclasses import dataclass, field

from accelerate import PartialState
from rich.console import Console

from latent_trainer.cli.arguments import DataArguments, parse
from latent_trainer.cli.build import load_saved
from latent_trainer.data import as_problems
from latent_trainer.errors import InputError
from latent_trainer.evaluation.generation import new_tokens
from latent_trainer.evaluation.record import write_record
from latent_trainer.evaluation.reward_model import Graded, best_of, graded_samples, train_reward_model
from latent_trainer.evaluation.statistics import mcnemar, mean_and_error
from latent_trainer.evaluation.summary import majority_votes, summarise
from latent_trainer.model.drawn_latents import drawing_of
from latent_trainer.options import Dropout, Positive, Scale, Seed, check_fields
from latent_trainer.whole_files import output_file, output_folder, record_file


@dataclass
class RewardArguments:
    """Whose answers are rewarded, how they are drawn, and where model and record go."""

    model: str = field(metadata={"help": "Folder or Hub name of a latent model or an adapter."})
    out: str = field(metadata={"help": "Folder of the reward model; the record goes beside it, as OUT.json."})
    num_samples: Positive = field(default=8, metadata={"help": "Answers per problem, in training and of best-of-N."})
    latent_do_sample_by: str | None = field(
        default=None, metadata={"help": "How thoughts are drawn: noise (default), dropout, or a policy (multiplex, ...)."}
    )
    noise_std: Scale | None = field(default=None, metadata={"help": "Deviation of that noise; 0.1 by default."})
    dropout_p: Dropout | None = field(default=None, metadata={"help": "Probability of that dropout; 0.1 by default."})
    temperature: Scale | None = field(
        default=None, metadata={"help": "Sample what is written, too; greedy after the thought without it."}
    )
    max_new_tokens: Positive | None = field(default=None, metadata={"help": "Tokens per problem; by default as trained."})
    batch_size: Positive = field(default=128, metadata={"help": "Answers per call of generate()."})
    seed: Seed = field(
        default=0, metadata={"help": "Seed of thoughts, of the reward model's weights and of what it holds out."}
    )

    def __post_init__(self):
        check_fields(self)
        self.out = output_folder("out", self.out)
        record_file("out", output_file("out", f"{self.out}.json"), ("auroc", "versions"))
        if self.num_samples < 2:
            raise InputError(f"num_samples={self.num_samples}: the best of one answer is that answer; give 2 or more")
        drawing_of(True, **self._drawing).policy()

    @property
    def _drawing(self) -> dict:
        return {"by": self.latent_do_sample_by, "noise_std": self.noise_std, "dropout_p": self.dropout_p}

    @property
    def thoughts(self) -> dict:
        """Return the options by which thoughts are drawn."""
        given = {
            name.replace("by", "latent_do_sample_by"): value for name, value in self._drawing.items() if value is not None
        }
        return {"seed": self.seed, **given}


def run(argv: list[str]) -> None:
    """Sample and grade answers to training problems, train on them, choose among answers to test problems."""
    args, data_args = parse("reward", (RewardArguments, DataArguments), argv)
    state = PartialState(cpu=True)
    if state.num_processes > 1:
        raise InputError(f"latent-trainer reward runs in one process, and {state.num_processes} were launched")
    model, tokenizer = load_saved(args.model)
    if model.config.open_thought or not model.config.num_latents:
        why = "ends its thoughts itself" if model.config.open_thought else "has no latents"
        raise InputError(f"a reward is read off thoughts of a given length, and '{args.model}' {why}; take another model")

    def samples(split: str) -> tuple[Graded, list]:
        problems = as_problems(data_args.load(split))
        sampling = None if args.temperature is None else {"seed": args.seed, "temperature": args.temperature}
        common = (args.num_samples, args.thoughts, sampling, model.config.num_latents)
        most_tokens = args.max_new_tokens or new_tokens(model)
        return graded_samples(model, tokenizer, problems, *common, most_tokens, args.batch_size), problems

    trained, _ = samples("train")
    reward = train_reward_model(trained, args.seed)
    reward.save(args.out)
    graded, problems = samples("test")
    area, chosen = best_of(reward, graded)
    votes = majority_votes(graded.answers)
    record = {"auroc": area, "samples": args.num_samples, **summarise(graded.answers)}
    record["best_of_n"], record["best_of_n_stderr"] = mean_and_error(chosen)
    record["against_majority"] = mcnemar(chosen, votes)
    record["train_problems"] = len(trained.answers) // args.num_samples
    write_record(f"{args.out}.json", record, {**vars(args), **vars(data_args)}, problems=problems)
    Console().print(
        f"one answer {record['accuracy']:.3f}, majority {record['majority']:.3f}, best of {args.num_samples} "
        f"{record['best_of_n']:.3f} (p {record['against_majority']['p_value']:.2g}), any of them "
        f"{record[_passed(record)]:.3f}; AUROC {'-' if area is None else f'{area:.3f}'}\nrecord in {args.out}.json",
        soft_wrap=True,
        highlight=False,
    )


def _passed(record: dict) -> str:
    """Return the name of pass@k with the largest k."""
    return max((name for name in record if name.startswith("pass@") and name[5:].isdigit()), key=lambda name: int(name[5:]))
