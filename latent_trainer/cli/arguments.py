"""Arguments from a YAML file and the command line, into dataclasses."""

import json
from dataclasses import dataclass, field, fields
from pathlib import Path

import yaml
from transformers import HfArgumentParser

from latent_trainer.errors import InputError, nearest


def parse(command: str, classes: tuple[type, ...], argv: list[str]) -> tuple:
    """Return one instance of each class, from ``--config FILE.yaml`` and overrides on the command line.

    Raises:
        InputError: an unknown key or option (names the nearest valid one), a value of the wrong type, or a malformed file.
        FileNotFoundError: no such configuration file.
    """
    parser = HfArgumentParser(classes, prog=f"latent-trainer {command}", allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--config", help="YAML file of options; options on the command line win.")
    known = {one.name for cls in classes for one in fields(cls) if one.init}
    argv = list(argv)
    if "--config" in argv[:-1]:
        place = argv.index("--config")
        settings = _read(argv[place + 1])
        del argv[place : place + 2]
        for key in settings:
            if key not in known:
                raise InputError(f"unknown key '{key}' in {command} configuration{nearest(key, known)}")
        for action in parser._actions:
            if action.dest in settings:
                action.required = False
        parser.set_defaults(**{key: _for_argparse(value) for key, value in settings.items()})
    try:
        *instances, rest = parser.parse_args_into_dataclasses(
            argv, return_remaining_strings=True, look_for_args_file=False, args_file_flag=None
        )
    except SystemExit as stop:  # argparse has already said what is missing
        raise SystemExit(stop.code) from None
    except (TypeError, __import__("argparse").ArgumentError) as error:
        raise InputError(str(error).replace("\n", " ")) from None
    unknown = [word for word in rest if word.startswith("--")]
    if unknown:
        name = unknown[0].lstrip("-").split("=")[0]
        raise InputError(f"unknown option '--{name}' of {command}{nearest(name, known)}")
    if rest and not unknown:
        raise InputError(f"stray word '{rest[0]}' after {command}; options start with --")
    return tuple(instances[: len(classes)])


def _read(path: str) -> dict:
    if not Path(path).is_file():
        raise FileNotFoundError(f"no configuration file {path}")
    try:
        settings = yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f":{mark.line + 1}" if mark else ""
        raise InputError(f"{path}{place}: malformed YAML ({getattr(error, 'problem', error)})") from None
    if not isinstance(settings, dict):
        raise InputError(f"{path}: expected 'option: value' lines, found {type(settings).__name__}")
    return settings


def _for_argparse(value):
    """Return a YAML value as argparse wants a default: text is parsed again, so that 1e-4 becomes a number."""
    if isinstance(value, dict):
        return json.dumps(value)
    return value


@dataclass
class ModelArguments:
    """Which model is trained, and how much of it."""

    model_name_or_path: str | None = field(
        default=None, metadata={"help": "Base model or latent model: a name on the Hub or a folder."}
    )
    model_config: dict | str | None = field(
        default=None, metadata={"help": "Build the base from this configuration instead (model_type and its fields)."}
    )
    tokenizer_name: str | None = field(default=None, metadata={"help": "Tokenizer; by default the model's own."})
    tokenizer_vocab_size: int | None = field(
        default=None, metadata={"help": "With model_config: train a byte-level BPE of this size; else one token a word."}
    )
    dtype: str | None = field(default=None, metadata={"help": "Weights' type: float32, bfloat16, float16."})
    attn_implementation: str | None = field(default=None, metadata={"help": "sdpa, eager or flash_attention_2."})
    trust_remote_code: bool = field(default=False, metadata={"help": "Run code that comes with the model."})
    use_peft: bool = field(default=False, metadata={"help": "Train LoRA adapters instead of every weight."})
    lora_r: int = field(default=16, metadata={"help": "LoRA rank."})
    lora_alpha: int = field(default=32, metadata={"help": "LoRA scale: the update is multiplied by alpha / rank."})
    lora_dropout: float = field(default=0.0, metadata={"help": "LoRA dropout."})
    lora_target_modules: list[str] | None = field(default=None, metadata={"help": "Modules that get adapters."})

    def __post_init__(self):
        if isinstance(self.model_config, str):
            self.model_config = json.loads(self.model_config)


@dataclass
class DataArguments:
    """Which problems are used."""

    dataset: str = field(default="gsm8k", metadata={"help": "A data set the library knows (docs/data.md)."})
    dataset_path: str | None = field(default=None, metadata={"help": "Local file instead of the Hub."})
    dataset_test_path: str | None = field(default=None, metadata={"help": "Local file of the test split."})
    dataset_options: dict | str | None = field(default=None, metadata={"help": "Options of the loader."})
    dataset_seed: int = field(default=0, metadata={"help": "Decides generated problems and the validation split."})
    max_train_problems: int | None = field(default=None, metadata={"help": "Train on the first n problems."})
    max_eval_problems: int | None = field(default=None, metadata={"help": "Evaluate on the first n problems."})

    def __post_init__(self):
        if isinstance(self.dataset_options, str):
            self.dataset_options = json.loads(self.dataset_options)

    def load(self, split: str):
        """Return the problems of a split, at most as many as asked for."""
        from latent_trainer.data import load_problems

        options = dict(self.dataset_options or {})
        if self.dataset_test_path is not None:
            options["test_path"] = self.dataset_test_path
        problems = load_problems(self.dataset, split, path=self.dataset_path, seed=self.dataset_seed, **options)
        most = self.max_train_problems if split == "train" else self.max_eval_problems
        return problems if most is None else problems.select(range(min(most, len(problems))))
