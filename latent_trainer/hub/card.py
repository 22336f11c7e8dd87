"""The model card: metadata the Hub understands, and a page from `card.md.jinja`; text that users wrote is escaped."""

import html
import json
import re
from dataclasses import fields
from pathlib import Path

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from latent_trainer.compat import known_releases
from latent_trainer.data import Encoder
from latent_trainer.data.published import HUB
from latent_trainer.data.thought_tokens import LATENT_TOKEN
from latent_trainer.hub.chat import thought_text
from latent_trainer.hub.code import AUTO_MAP
from latent_trainer.hub.folder import CURVE, Published
from latent_trainer.local_names import repository
from latent_trainer.methods.presets import METHODS
from latent_trainer.training.training_args import LatentTrainingArguments

TEMPLATE = Path(__file__).with_name("card.md.jinja")
HUB_IDS = {name: hub.name for name, hub in HUB.items()}
QUESTIONS = {"arithmetic": "7 +3 x7 -5"}
ALWAYS = ("seed", "learning_rate", "per_device_train_batch_size")  # of interest even where they are the usual ones
QUESTION = "A shelf holds 48 books and 6 boxes of 10 more arrive. How many books are there?"


def model_card(found: Published, repo_id: str, license: str | None) -> str:
    """Return the card of a folder that is about to be pushed, metadata first.

    Args:
        found: the folder.
        repo_id: "me/name".
        license: identifier of the Hub, or None where it is unknown.
    """
    config, records = found.config, _records(found)
    base = repository(config.base_name_or_path)
    method = found.training.get("method")
    metadata = ModelCardData(
        base_model=base or None,
        base_model_relation=("adapter" if found.kind == "adapter" else "finetune") if base else None,
        datasets=_hub_datasets(found.data.get("dataset", "")),
        library_name="peft" if found.kind == "adapter" else "transformers",
        pipeline_tag="text-generation",
        tags=["latent-reasoning", "latent_trainer", *([method] if method else [])],
        license=license,
        metrics=["accuracy"] if records else None,
        model_name=repo_id.split("/")[-1],
        eval_results=[result for record in records for result in _eval_results(record)] or None,
    )
    if metadata.eval_results is None:
        metadata.model_name = None  # it belongs to the results
    controls = next((record["controls"] for record in records if record.get("controls")), {})
    card = ModelCard.from_template(
        metadata,
        template_str=TEMPLATE.read_text(encoding="utf-8"),
        title=escaped(repo_id.split("/")[-1]),
        summary=_summary(found),
        layout=layout(Encoder(found.tokenizer, config.template), config.num_latents, config.open_thought),
        method=_method(found),
        repo_id=repo_id,
        kind=found.kind,
        model_class=AUTO_MAP["AutoModelForCausalLM"],
        question=json.dumps(QUESTIONS.get(found.data.get("dataset"), QUESTION)),
        num_latents=config.num_latents,
        open_thought=config.open_thought,
        prompt_latents="None" if config.open_thought else "model.config.num_latents",
        releases=known_releases(),
        results=[_result_row(record) for record in records],
        controls=[_control_row(name, row) for name, row in controls.items()],
        training=_training_rows(found),
        curve=CURVE if CURVE in found.files else None,
        limits=_limits(found, records, controls),
        citation=escaped(METHODS[method].citation) + "." if method in METHODS else "The method is not known.",
    )
    return str(card)


def escaped(value) -> str:
    """Return a value as one line of plain text in Markdown: no markup, HTML, link or table border of its own."""
    text = f"{value:.4g}" if isinstance(value, float) else value if isinstance(value, str) else json.dumps(value)
    text = html.escape(" ".join(text.split()), quote=False)
    return re.sub(r"([\\`*_~\[\]|#!])", r"\\\1", text)


def layout(encoder: Encoder, num_latents: int, open_thought: bool = False) -> str:
    """Return a picture of a row's tokens: what the prompt gives and what the model writes, line breaks as ``\\n``."""
    template = encoder.template
    thought = _visible(thought_text(encoder, None if open_thought else num_latents))
    if num_latents and not open_thought:
        thought = thought.replace(LATENT_TOKEN * num_latents, f" {LATENT_TOKEN} x {num_latents} ")
    written = [f"{LATENT_TOKEN} x 0 to {num_latents}" if open_thought else "{remaining steps}"]
    written = written if template.score_answer_prefix else []
    if written and template.markers and template.remaining_steps == "inside":
        written.append(template.eot)
    written += [_visible(template.answer_prefix.format())] if template.score_answer_prefix else []
    lines = [
        f"prompt   {_visible(template.question)} {thought}",
        f"written  {' '.join([*written, _visible(template.answer)])}",
    ]
    if num_latents:
        lines.append(f"each {LATENT_TOKEN} is replaced by feedback(last hidden state of the column before)")
    return "\n".join(line.strip() for line in lines).replace("```", "'''")  # nothing in it may end its block


def _visible(text: str) -> str:
    """Return text of a template on one line."""
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")


def _summary(found: Published) -> str:
    config = found.config
    name = repository(config.base_name_or_path)
    made = f"Trained from [{escaped(name)}](https://huggingface.co/{name})" if name else "Its base model has no public name"
    what = "an adapter for a language model" if found.kind == "adapter" else "a language model"
    if not config.num_latents:
        return f"This is {what} that answers without latents: a baseline. {made} ({_architecture(found)})."
    return (
        f"This is {what} that thinks in continuous latents: {config.num_latents} hidden states, fed back as input "
        f"embeddings, stand where written reasoning would. {made} ({_architecture(found)})."
    )


def _architecture(found: Published) -> str:
    config = found.config
    return f"{escaped(config.base_config.model_type)}, {config.num_hidden_layers} layers, hidden size {config.hidden_size}"


def _method(found: Published) -> str:
    config = found.config
    how = f"Feedback `{config.feedback}`, rollout `{config.rollout}`."
    method = found.training.get("method")
    how = f"Method `{method}`: {escaped(METHODS[method].citation)}. {how}" if method in METHODS else how
    return " ".join([how, *_plugins(found)])


def _plugins(found: Published) -> list[str]:
    """Return a sentence for everything that a plug-in has defined."""
    needed = found.config.plugins or {}
    return [
        f"The {kind} `{escaped(said['name'])}` is code of plug-in `{escaped(said['file'])}`, which "
        + ("travels with the model." if kind in needed else "running the model does not need.")
        for kind, said in {**found.training.get("plugins", {}), **found.data.get("plugins", {}), **needed}.items()
    ]


def _records(found: Published) -> list[dict]:
    """Return what was measured: the records of evaluation, and the trainer's own validation where there is none."""
    records = [one for record in found.results.values() if "accuracy" in record for one in _of_suite(record)]
    own = found.results.get("eval_results", {})
    if not records and "eval_accuracy" in own:
        metrics = {name.removeprefix("eval_"): value for name, value in own.items()}
        config = {"dataset": found.data.get("dataset", "unknown"), "split": "validation"}
        records = [{**metrics, "config": config}]
    return records


def _of_suite(record: dict) -> list[dict]:
    """Return a record of a suite as one of each of its data sets; any other as it is."""
    sets = record.get("sets") or {}
    return [{**record, **row, "config": {**record["config"], "dataset": name}} for name, row in sets.items()] or [record]


def _measured_on(record: dict) -> tuple[str, str]:
    """Return the data set and the split of a record."""
    return record["config"].get("dataset", "unknown"), record["config"].get("split", "unknown")


def _hub_datasets(name: str) -> list[str] | None:
    """Return the Hub's name of a data set; None for one that is generated or a file of one's own."""
    known = HUB_IDS.get(name, name)
    return [known] if "/" in known else None


def _eval_results(record: dict) -> list[EvalResult]:
    """Return accuracy and its standard error for the card's model-index."""
    name, split = _measured_on(record)
    metrics = {"accuracy": "accuracy", "accuracy_stderr": "standard error of the accuracy"}
    return [
        EvalResult(
            task_type="text-generation",
            dataset_type=HUB_IDS.get(name, name),
            dataset_name=name,
            dataset_split=split,
            metric_type=metric,
            metric_name=title,
            metric_value=record[metric],
        )
        for metric, title in metrics.items()
    ]


def _share(row: dict, name: str = "accuracy") -> str:
    return f"{100 * row[name]:.1f} ± {100 * row[name + '_stderr']:.1f} %"


def _result_row(record: dict) -> list[str]:
    name, split = _measured_on(record)
    counts = [f"{record['problems']}", f"{record['tokens_written']:.1f}", f"{record['latents']:.1f}"]
    return [escaped(name), escaped(split), _share(record), *counts]


def _control_row(name: str, row: dict) -> list[str]:
    return [escaped(name), _share(row), _share(row, "difference"), f"{row['p_value']:.2g}"]


def _training_rows(found: Published) -> list[list[str]]:
    """Return the settings that differ from the usual ones, and what the run came to; those without a value are left out."""
    run = found.results.get("train_results", {})
    names = {"train_loss": "training loss", "train_runtime": "seconds", "train_samples_per_second": "problems per second"}
    usual = {one.name: one.default for one in fields(LatentTrainingArguments) if one.name not in ALWAYS}
    chosen = {name: value for name, value in found.training.items() if value != usual.get(name)}
    settings = {**found.data, **chosen, **{title: run[name] for name, title in names.items() if name in run}}
    settings.pop("plugins", None)  # a sentence of its own
    return [[escaped(name), escaped(value)] for name, value in settings.items() if value not in (None, {}, [])]


def _limits(found: Published, records: list[dict], controls: dict) -> list[str]:
    limits = ["A prompt holds one question; conversations of several turns were not part of training."]
    if found.config.num_latents:
        limits.append("Latents are vectors, not text: what the model thought cannot be read off as written steps can.")
        limits.append(
            f"It was trained with up to {found.config.num_latents} latents; other numbers are untested unless shown."
        )
        if not controls:
            limits.append("No controls were measured, so nothing here shows that the answers depend on the latents.")
    if records:
        names = sorted({escaped(_measured_on(record)[0]) for record in records})
        limits.append(f"Accuracy was measured on {', '.join(names)} only; elsewhere it is unknown.")
    else:
        limits.append("Accuracy was not measured.")
    return limits
