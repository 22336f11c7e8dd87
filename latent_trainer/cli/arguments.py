"""Arguments from a YAML file and the command line, into dataclasses."""

import json
import re
from dataclasses import dataclass, field, fields
from pathlib import Path

import yaml
from transformers import HfArgumentParser

from latent_trainer.data import load_problems
from latent_trainer.data.forms import parse_columns
from latent_trainer.errors import InputError, nearest, parse_json


class _Parser(HfArgumentParser):
    def error(self, message: str):
        """Raise in one line instead of printing every option."""
        raise InputError(" ".join(message.split()))


class _Loader(yaml.SafeLoader):
    """YAML in which only true and false are booleans, so that ``save_strategy: no`` is a word, and 1e-4 is a number."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"^[-+]?\d+[eE][-+]?\d+$"), list("-+0123456789"))


def parse(command: str, classes: tuple[type, ...], argv: list[str]) -> tuple:
    """Return one instance of each class, from ``--config FILE.yaml`` and overrides on the command line.

    Raises:
        InputError: an unknown key or option (names the nearest valid one), a value of the wrong type, or a malformed file.
        FileNotFoundError: no such configuration file.
    """
    before = _Parser(add_help=False, allow_abbrev=False)
    before.add_argument("--config")
    given, argv = before.parse_known_args(argv)
    parser = _Parser(classes, prog=f"latent-trainer {command}", allow_abbrev=False)
    parser.add_argument("--config", help="YAML file of options; options on the command line win.")
    known = {one.name for cls in classes for one in fields(cls) if one.init}
    settings = _read(given.config) if given.config is not None else {}
    for key in settings:
        if key not in known:
            raise InputError(f"unknown key '{key}' in {given.config}{nearest(key, known)}")
    try:
        *instances, rest = parser.parse_args_into_dataclasses(
            as_words(settings) + argv, return_remaining_strings=True, look_for_args_file=False
        )
    except InputError:
        raise
    except ValueError as error:  # what `TrainingArguments` says of settings that contradict each other
        raise InputError(" ".join(str(error).split())) from None
    if rest and rest[0].startswith("--"):
        name = rest[0][2:].split("=")[0]
        raise InputError(f"unknown option '--{name}' of {command}{nearest(name, known)}")
    if rest:
        raise InputError(f"stray word '{rest[0]}' after {command}; options start with -- and most take one value")
    return tuple(instances[: len(classes)])


def _read(path: str) -> dict:
    if not Path(path).is_file():
        raise FileNotFoundError(f"no configuration file {path}; check --config")
    try:
        settings = yaml.load(Path(path).read_text(encoding="utf-8"), _Loader) or {}
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f":{mark.line + 1}" if mark else ""
        raise InputError(f"{path}{place}: malformed YAML ({getattr(error, 'problem', error)})") from None
    if not isinstance(settings, dict):
        raise InputError(f"{path}: expected 'option: value' lines, found {type(settings).__name__}")
    return settings


def as_words(settings: dict) -> list[str]:
    """Return settings as words of a command line, so that both are checked alike; a key without a value is left out."""
    words = []
    for key, value in settings.items():
        if isinstance(value, list):
            words += [f"--{key}", *map(str, value)]
        elif value is not None:
            words.append(f"--{key}={json.dumps(value) if isinstance(value, dict) else value}")
    return words


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
            self.model_config = parse_json("model_config", self.model_config)


@dataclass
class DataArguments:
    """Which problems are used."""

    dataset: str = field(default="gsm8k", metadata={"help": "A data set the library knows (docs/data.md)."})
    dataset_path: str | None = field(default=None, metadata={"help": "Local file or folder instead of the Hub."})
    dataset_validation_path: str | None = field(
        default=None, metadata={"help": "Local file of the validation split; without it a part of dataset_path is held out."}
    )
    dataset_test_path: str | None = field(default=None, metadata={"help": "Local file of the test split."})
    columns: dict | str | None = field(
        default=None, metadata={"help": "Columns under other names: question=problem,answer=solution (field=column)."}
    )
    dataset_options: dict | str | None = field(default=None, metadata={"help": "Options of the loader."})
    dataset_seed: int = field(default=0, metadata={"help": "Decides generated problems and the validation split."})
    max_train_problems: int | None = field(default=None, metadata={"help": "Train on the first n problems."})
    max_eval_problems: int | None = field(default=None, metadata={"help": "Evaluate on the first n problems."})

    def __post_init__(self):
        if isinstance(self.dataset_options, str):
            self.dataset_options = parse_json("dataset_options", self.dataset_options)
        if isinstance(self.columns, str):
            self.columns = parse_columns(self.columns)
        for name, instead in (
            ("path", "set dataset_path"),
            ("validation_path", "set dataset_validation_path"),
            ("test_path", "set dataset_test_path"),
            ("columns", "set columns"),
            ("seed", "set dataset_seed"),
            ("split", "leave it out"),
        ):
            if name in (self.dataset_options or {}):
                raise InputError(f"dataset_options may not have '{name}'; {instead}")
        for name in ("max_train_problems", "max_eval_problems"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name}={value} must be at least 1; leave it out for all problems")

    def load(self, split: str):
        """Return the problems of a split, at most as many as asked for."""
        given = {
            "validation_path": self.dataset_validation_path,
            "test_path": self.dataset_test_path,
            "columns": self.columns,
        }
        options = dict(self.dataset_options or {}) | {name: value for name, value in given.items() if value is not None}
        problems = load_problems(self.dataset, split, path=self.dataset_path, seed=self.dataset_seed, **options)
        most = self.max_train_problems if split == "train" else self.max_eval_problems
        return problems if most is None else problems.select(range(min(most, len(problems))))
