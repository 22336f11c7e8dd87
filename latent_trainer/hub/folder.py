"""What a folder that training left publishes: weights as they are, everything else read, cleaned and written anew."""

import json
from dataclasses import dataclass, field
from pathlib import Path

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from latent_trainer.errors import InputError
from latent_trainer.hub.chat import set_chat_template
from latent_trainer.hub.code import AUTO_MAP, modelling_code
from latent_trainer.hub.plugin_code import travelling
from latent_trainer.hub.settings import DATA_FILE, TRAINING_FILE, to_json
from latent_trainer.local_names import ENDINGS, hub_id, names_hub, without_folders
from latent_trainer.model.configuration import LatentConfig
from latent_trainer.model.modeling import LatentForCausalLM
from latent_trainer.whole_files import read_json

ADAPTER = "adapter_config.json"
TOKENIZER = "tokenizer_config.json"
LOADED_FROM = ("_name_or_path", "name_or_path")
BINARY = (".safetensors", ".png")
SHALLOW = 2  # parts of a path too common to look for, such as /root
CURVE = "learning_curve.png"
RESULTS = "results"


@dataclass
class Published:
    """A folder ready to be pushed, all but its card.

    Args:
        files: path in the repository -> a file of this machine, or the bytes to push.
        kind: "adapter" or "model".
        config: the model's configuration.
        tokenizer: with the chat template it is pushed with.
        training, data: arguments of the run; empty where the folder has none.
        results: name -> metrics or record found in the folder.
        history: what the trainer logged.
    """

    files: dict[str, Path | bytes]
    kind: str
    config: LatentConfig
    tokenizer: PreTrainedTokenizerBase
    training: dict = field(default_factory=dict)
    data: dict = field(default_factory=dict)
    results: dict[str, dict] = field(default_factory=dict)
    history: list[dict] = field(default_factory=list)


def published(folder: Path, merge: bool, scratch: Path) -> Published:
    """Return what a folder publishes.

    Args:
        folder: holds a model or an adapter, and its tokenizer.
        merge: publish the adapter merged into the model it was trained on.
        scratch: an empty folder for the files that are written anew; must outlive the push.

    Raises:
        InputError: no latent model there, weights that are a pickle, an adapter whose base is on this machine only, a
            plug-in's feedback or rollout whose code cannot travel, or nothing to merge.
    """
    if read_json(folder / "config.json").get("model_type") != LatentConfig.model_type:
        raise InputError(
            f"{folder} holds no latent model (config.json with model_type latent); give a folder that training wrote"
        )
    adapter = (folder / ADAPTER).is_file()
    if merge and not adapter:
        raise InputError(f"{folder} holds a full model, so there is nothing to merge; leave out merge")
    tokenizer = _tokenizer(folder)
    source = folder
    if merge:
        source = scratch / "merged"
        LatentForCausalLM.from_pretrained(str(folder)).save_pretrained(source)
    kind = "adapter" if adapter and not merge else "model"
    files: dict[str, Path | bytes] = dict(_weights(source, kind))
    settings = _clean_config(read_json(source / "config.json"), folder, kind)
    files["config.json"] = to_json(settings, folder).encode()
    if kind == "adapter":
        files[ADAPTER] = to_json(_clean_adapter(read_json(folder / ADAPTER), folder), folder).encode()
    if generation := read_json(source / "generation_config.json"):
        # pipelines sample unless told otherwise; answers are greedy here, as they were in evaluation
        files["generation_config.json"] = to_json({"do_sample": False, **generation}, folder).encode()
    config = LatentConfig(**{name: value for name, value in settings.items() if name != "model_type"})
    module = type(config.base_config).__module__
    if module.split(".")[0] != "transformers":
        raise InputError(
            f"the base model's architecture {config.base_config.model_type} is code of {module}, which would not travel "
            "with the model; publish models on architectures of transformers"
        )
    if config.template is None:
        raise InputError(
            f"{folder}: its config.json has no template, so no prompt can be written; set model.config.template"
        )
    set_chat_template(tokenizer, config.template, config.prompt_latents)
    tokenizer.save_pretrained(scratch / "tokenizer")
    files |= {path.name: path for path in (scratch / "tokenizer").iterdir()}
    own = read_json(scratch / "tokenizer" / TOKENIZER)
    files[TOKENIZER] = (json.dumps(_clean_tokenizer(own, folder), indent=2, ensure_ascii=False) + "\n").encode()
    files |= {name: code.encode() for name, code in modelling_code(travelling(config)).items()}
    found = Published(files, kind, config, tokenizer)
    found.training = without_folders(read_json(folder / TRAINING_FILE), folder)
    found.data = without_folders(read_json(folder / DATA_FILE), folder)
    found.results = without_folders(_results(folder), folder)
    found.history = read_json(folder / "trainer_state.json").get("log_history", [])
    for name, settings in ((TRAINING_FILE, found.training), (DATA_FILE, found.data)):
        if settings:
            files[name] = to_json(settings, folder).encode()
    files |= {f"{RESULTS}/{name}.json": to_json(record, folder).encode() for name, record in found.results.items()}
    _add_curve(found, scratch / CURVE)
    return found


def refuse_leaks(files: dict[str, Path | bytes], folder: Path) -> None:
    """Raise an `InputError` where a text that is to be published names the folder, the working folder or the home folder.

    Settings are cleaned before; this finds what a person or another program has written into a text.
    """
    here = {folder.absolute(), folder.resolve(), Path.cwd(), Path.home()}
    here = [str(place) for place in here if len(place.parts) > SHALLOW]
    for name, content in sorted(files.items()):
        if Path(name).suffix in BINARY:
            continue
        text = (content if isinstance(content, bytes) else content.read_bytes()).decode("utf-8", errors="replace")
        found = next((place for place in here if place in text or json.dumps(place)[1:-1] in text), None)
        if found is not None:
            raise InputError(f"{name} would publish {found}, a local folder; remove it from the files in {folder}")


def _tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    try:
        return AutoTokenizer.from_pretrained(str(folder))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{folder} has no tokenizer ({str(error).splitlines()[0]}); save it there: tokenizer.save_pretrained('{folder}')"
        ) from None


def _weights(folder: Path, kind: str) -> list[tuple[str, Path]]:
    """Return the weight files of a folder; safetensors only, because anything else runs code when it is loaded."""
    pattern = "adapter_model*.safetensors" if kind == "adapter" else "model*.safetensors"
    found = [*folder.glob(pattern), *(folder.glob("model.safetensors.index.json") if kind == "model" else ())]
    if not found:
        pickles = [path.name for path in folder.glob("*.bin") if path.name.startswith(("pytorch_model", "adapter_model"))]
        why = f"its weights are a pickle ({pickles[0]})" if pickles else f"no {pattern}"
        raise InputError(f"{folder} has no weights to push: {why}; save the model as safetensors")
    return sorted((path.name, path) for path in found)


def _clean_config(settings: dict, folder: Path, kind: str) -> dict:
    """Return a model's configuration with the map to its code and without folders of this machine.

    Raises:
        InputError: an adapter on a base that nobody else can load.
    """
    base = settings.get("base_name_or_path") or ""
    base = settings["base_name_or_path"] = hub_id(base) or base
    if base and not names_hub(base, folder):
        if kind == "adapter":
            raise InputError(
                f"the adapter in {folder} belongs to the base model in a local folder ({Path(base).name}), which "
                "others cannot load; give merge"
            )
        settings["base_name_or_path"] = ""
    return {**_without_names(settings), "auto_map": AUTO_MAP}


def _without_names(settings):
    """Return a configuration in which no part says where it was loaded from."""
    if isinstance(settings, dict):
        return {name: _without_names(value) for name, value in settings.items() if name not in LOADED_FROM}
    return [_without_names(value) for value in settings] if isinstance(settings, list) else settings


def _clean_tokenizer(settings: dict, folder: Path) -> dict:
    """Return a tokenizer's configuration without folders of this machine; tokens and templates, which are text, stay."""
    return {
        name: value
        if any(text in name for text in ("token", "template")) or not isinstance(value, dict | list | str)
        else _clean_tokenizer(value, folder)
        if isinstance(value, dict)
        else without_folders(value, folder, name)
        for name, value in settings.items()
        if name not in LOADED_FROM and not name.endswith(ENDINGS)
    }


def _clean_adapter(settings: dict, folder: Path) -> dict:
    """Return an adapter's configuration; an `InputError` where it was trained on a latent model of this machine."""
    base = settings.get("base_model_name_or_path") or ""
    base = hub_id(base) or base
    settings["base_model_name_or_path"] = base or None
    if base and not names_hub(base, folder):
        raise InputError(
            f"the adapter in {folder} was trained on the latent model in a local folder ({Path(base).name}), "
            "which others cannot load; give merge"
        )
    return settings


def _results(folder: Path) -> dict[str, dict]:
    """Return the metrics of training and every result record in a folder, and the record evaluation left beside it."""
    own = folder.absolute().name  # a person gave it on this machine
    metrics = {name: read_json(folder / f"{name}.json") for name in ("train_results", "eval_results")}
    beside = folder.absolute().with_name(own + ".json")
    records = {
        "model" if path.stem == own else path.stem: _record(path)
        for path in [*sorted(folder.glob("*.json")), beside]
        if path.is_file()
    }
    return {name: record for name, record in {**records, **metrics}.items() if record}


def _record(path: Path) -> dict:
    """Return a result record that `latent_trainer.evaluation.record` wrote; an empty one for any other file."""
    record = read_json(path)
    return record if {"accuracy", "accuracy_stderr", "config", "versions"} <= record.keys() else {}


def _add_curve(found: Published, path: Path) -> None:
    """Draw validation accuracy over the run, where it was measured."""
    measured = [entry["eval_accuracy"] for entry in found.history if "eval_accuracy" in entry]
    if measured:
        from latent_trainer.analysis.figures import learning_curves  # loads matplotlib, which training does not need

        title = f"Validation accuracy: {100 * max(measured):.1f} % at its best"
        learning_curves({found.training.get("method", "training"): found.history}, path, title)
        found.files[CURVE] = path
