"""Arguments from a YAML file and the command line, into dataclasses."""

import json
import re
from argparse import ArgumentTypeError
from dataclasses import dataclass, field, fields
from typing import Annotated, get_type_hints

from transformers import HfArgumentParser
from transformers.hf_argparser import string_to_bool

from latent_trainer.cli.config_file import read_config, words_in
from latent_trainer.data import load_problems
from latent_trainer.data.forms import parse_columns
from latent_trainer.errors import InputError, check_choice, nearest
from latent_trainer.options import Bounds, Dropout, Positive, Seed, admits, check_fields, conform, parse_json, truth
from latent_trainer.plugins import load_plugin
from latent_trainer.registry import REGISTRIES

# Mappings whose entries have types of their own, which tell what a word such as "no" means.
TYPED = (
    *("objective", "feedback", "rollout", "curriculum"),
    *("objective_options", "feedback_options", "rollout_options", "curriculum_options"),
    *("policy_options", "reward_options"),
    "dataset_options",
    "settings",
    "axes",
    "points",
    "search",
)
DTYPES = ("float32", "bfloat16", "float16")
SEVERAL = {"controls": "control", "probes": "probe", "rewards": "reward"}  # options that name more than one
NAME = re.compile(r"[\w.]+")  # of a module; anything else is PEFT's word all-linear or a regular expression


def _truth(text: str) -> bool:
    value = truth(text)
    if value is None:
        raise ArgumentTypeError(f"expected true or false, got {text!r}")
    return value


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ArgumentTypeError(f"expected a whole number (int), got {text!r}") from None


def _number(text: str) -> float:
    try:
        return conform("", float(text), float)
    except ValueError:
        raise ArgumentTypeError(f"expected a finite number (float), got {text!r}") from None


class _Parser(HfArgumentParser):
    """An argument parser that says what is wrong in one line, and takes the same words for a boolean everywhere."""

    def add_argument(self, *names, **settings):
        """Add an argument; numbers must be finite, and on and off are truth values too."""
        ours = {string_to_bool: _truth, int: _whole, float: _number}
        if settings.get("type") in ours:
            settings["type"] = ours[settings["type"]]
        return super().add_argument(*names, **settings)

    def format_help(self) -> str:
        """Return the help, with the names that plug-ins have added."""
        for action in self._actions:
            registry = REGISTRIES.get(SEVERAL.get(action.dest, action.dest))
            added = [name for name in registry.names() if registry.origin(name)] if registry else []
            if added:
                action.help += f" From plug-ins: {', '.join(added)}."
        return super().format_help()

    def error(self, message: str):
        """Raise in one line instead of printing every option."""
        raise InputError(" ".join(message.split()))


def without_plugins(argv: list[str]) -> list[str]:
    """Load the plug-ins of every ``--plugin`` and return the other words."""
    parser = _Parser(add_help=False, allow_abbrev=False)
    parser.add_argument("--plugin", action="append", default=[])
    given, rest = parser.parse_known_args(argv)
    for plugin in given.plugin:
        load_plugin(plugin)
    return rest


def parse(command: str, classes: tuple[type, ...], argv: list[str]) -> tuple:
    """Return one instance of each class, from ``--config FILE.yaml`` and overrides on the command line.

    Plug-ins are loaded first, those under ``plugins`` in the file and those of every ``--plugin``, since options name what
    they register. An option that the command line gives several times is refused: which of its values is meant nobody can
    tell.

    Raises:
        InputError: an unknown key or option (names the nearest valid one), a value of the wrong type, or a malformed file.
        FileNotFoundError: no such configuration file.
    """
    before = _Parser(add_help=False, allow_abbrev=False)
    before.add_argument("--config", action="append", default=[])
    before.add_argument("--plugin", action="append", default=[])
    given, argv = before.parse_known_args(argv)
    if len(given.config) > 1:
        raise InputError(
            f"--config is given {len(given.config)} times; give one file, and override options on the command line"
        )
    written = read_config(given.config[0]) if given.config else {}
    _leave_out_published(written, given.config)
    for plugin in [*_plugins(written, given.config), *given.plugin]:
        load_plugin(plugin)
    parser = _Parser(classes, prog=f"latent-trainer {command}", allow_abbrev=False)
    parser.add_argument("--config", help="YAML file of options; options on the command line win.")
    parser.add_argument(
        "--plugin", help="Python file or module that registers names of its own; may be given several times."
    )
    known = {one.name for cls in classes for one in fields(cls) if one.init}
    settings = _settings(written, given.config[0], parser, classes, known) if given.config else {}
    _refuse_twice(argv, known)
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
        raise InputError(f"unexpected word '{rest[0]}' after {command}; options start with -- and most take one value")
    return tuple(instances[: len(classes)])


def given(argv: list[str]) -> set[str]:
    """Return the names of the options that somebody has set, in the file of ``--config`` or on the command line."""
    before = _Parser(add_help=False, allow_abbrev=False)
    before.add_argument("--config")
    file, rest = before.parse_known_args(argv)
    written = read_config(file.config) if file.config else {}
    return {name for name, value in written.items() if value is not None} | {
        word[2:].partition("=")[0].replace("-", "_") for word in rest if word.startswith("--")
    }


def _plugins(settings: dict, config: list[str]) -> list[str]:
    """Take the plug-ins out of a file's options and return them."""
    plugins = settings.pop("plugins", None)
    plugins = [plugins] if isinstance(plugins, str) else plugins or []
    if not isinstance(plugins, list) or not all(isinstance(one, str) for one in plugins):
        raise InputError(f"{config[0]}: plugins={plugins}: expected a list of Python files or modules")
    return plugins


def _leave_out_published(settings: dict, config: list[str]) -> None:
    """Take out of a file's options what a recipe says of the published run it follows: nothing that a run reads."""
    published = settings.pop("published", {})
    if not isinstance(published, dict):
        raise InputError(
            f"{config[0]}: published={published}: expected a mapping of source, commit, data, figure and settings; "
            "it says what a recipe follows, and no run reads it"
        )


def _settings(settings: dict, path: str, parser: _Parser, classes: tuple[type, ...], known: set[str]) -> dict:
    """Return the options of a file; refuse unknown keys, and a list or a mapping where the option takes none."""
    lists = {action.dest for action in parser._actions if action.nargs == "+"}
    hints = {name: hint for cls in classes for name, hint in get_type_hints(cls).items()}
    for key, value in settings.items():
        if key not in known:
            if key == "plugin":
                raise InputError(f"{path}: plug-ins must be a list; write plugins: [{value}]")
            raise InputError(f"unknown key '{key}' in {path}{nearest(key, known)}")
        if isinstance(value, list) and key not in lists:
            raise InputError(f"{path}: {key}={value}: expected one value, found a list")
        if isinstance(value, dict) and not admits(hints[key], dict):
            raise InputError(f"{path}: {key}={value}: expected one value, found a mapping")
        word = next(words_in(value), None)
        if word is not None and key not in TYPED:
            raise InputError(
                f"{path}: '{word}' in {key} may be a text or something else; write true or false, a plain decimal number, "
                "or put the text in quotes"
            )
    return settings


def _refuse_twice(argv: list[str], known: set[str]) -> None:
    """Refuse an option that the command line gives twice, or both gives and takes back."""
    given = [word[2:].partition("=")[0].replace("-", "_") for word in argv if word.startswith("--")]
    for name in known:
        if given.count(name) > 1 or given.count(f"no_{name}") > 1:
            raise InputError(f"--{name} is given {max(given.count(name), given.count(f'no_{name}'))} times; keep one")
        if {name, f"no_{name}"} <= set(given):
            raise InputError(f"--{name} and --no_{name} are both given; keep one")


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
class AdapterArguments:
    """Whether adapters are trained instead of every weight."""

    use_peft: bool = field(default=False, metadata={"help": "Train LoRA adapters instead of every weight."})
    lora_r: Positive = field(default=16, metadata={"help": "LoRA rank."})
    lora_alpha: Positive = field(default=32, metadata={"help": "LoRA scale: the update is multiplied by alpha / rank."})
    lora_dropout: Dropout = field(default=0.0, metadata={"help": "LoRA dropout."})
    lora_target_modules: list[str] | None = field(
        default=None,
        metadata={"help": "Modules that get adapters: names, all-linear, or one regular expression of whole names."},
    )

    def __post_init__(self):
        check_fields(self)
        refuse_unread(self, "use_peft", ("lora_r", "lora_alpha", "lora_dropout", "lora_target_modules"))
        self._check_targets()

    def _check_targets(self):
        """Refuse module names that PEFT would read as something else."""
        targets = self.lora_target_modules or []
        for name in targets:
            if NAME.fullmatch(name):
                continue
            if len(targets) > 1:
                raise InputError(
                    f"lora_target_modules={targets}: '{name}' is not a module's name and must be the only entry"
                )
            try:
                re.compile(name)
            except re.error as error:
                raise InputError(f"lora_target_modules={name!r} is not a regular expression ({error})") from None

    @property
    def target_modules(self) -> list[str] | str | None:
        """Return which modules get adapters, as PEFT takes it: names, or one text for all-linear and regular expressions."""
        targets = self.lora_target_modules
        alone = targets is not None and len(targets) == 1 and not NAME.fullmatch(targets[0])
        return targets[0] if alone else targets


def refuse_unread(arguments, needed: str, names: tuple[str, ...]) -> None:
    """Refuse settings that nothing reads without another one.

    Args:
        arguments: a dataclass.
        needed: the setting without which they have no effect.
        names: those settings.
    """
    unread = [one.name for one in fields(arguments) if one.name in names and getattr(arguments, one.name) != one.default]
    if unread and not getattr(arguments, needed):
        raise InputError(f"{unread[0]}={getattr(arguments, unread[0])} has no effect without {needed}; set both or neither")


@dataclass
class ModelArguments(AdapterArguments):
    """Which model is trained, and how much of it."""

    model_name_or_path: str | None = field(
        default=None,
        metadata={"help": "Base model or latent model: a name on the Hub, a folder, or a GGUF file (FOLDER/NAME.gguf)."},
    )
    gguf_file: str | None = field(
        default=None, metadata={"help": "Read the base from this GGUF file of model_name_or_path; it is unpacked."}
    )
    model_config: dict | str | None = field(
        default=None, metadata={"help": "Build the base from this configuration instead (model_type and its fields)."}
    )
    tokenizer_name: str | None = field(default=None, metadata={"help": "Tokenizer; by default the model's own."})
    tokenizer_vocab_size: Annotated[int, Bounds(least=257)] | None = field(
        default=None,
        metadata={"help": "With model_config: size of a byte-level BPE, from 257; by default one token a word."},
    )
    dtype: str | None = field(default=None, metadata={"help": "Weights' type: float32, bfloat16, float16."})
    attn_implementation: str | None = field(default=None, metadata={"help": "sdpa, eager or flash_attention_2."})
    trust_remote_code: bool = field(default=False, metadata={"help": "Run code that comes with the model."})

    def __post_init__(self):
        super().__post_init__()
        if isinstance(self.model_config, str):
            self.model_config = parse_json("model_config", self.model_config)
        if self.dtype is not None:
            check_choice("dtype", self.dtype, DTYPES)
        refuse_unread(self, "model_config", ("tokenizer_vocab_size",))
        refuse_unread(self, "model_name_or_path", ("gguf_file", "tokenizer_name", "trust_remote_code"))


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
    dataset_seed: Seed = field(default=0, metadata={"help": "Decides generated problems and the validation split."})
    max_train_problems: Positive | None = field(default=None, metadata={"help": "Train on the first n problems."})
    max_eval_problems: Positive | None = field(default=None, metadata={"help": "Evaluate on the first n problems."})

    def __post_init__(self):
        check_fields(self)
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
