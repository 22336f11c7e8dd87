"""Traces: what a model computes at the latents of many problems, collected once into a folder that every probe reads.

The folder holds ``traces.json`` (the settings that decide the traces), ``problems.parquet`` (a row a problem, in order) and
``shard-00000.safetensors`` and so on, each with the tensors of ``SHARD`` problems:

- ``latents`` (n, K, H): the input embeddings that stand at the latents;
- ``hidden`` (n, L + 1, K + 1, H): hidden states of every layer, embedding output first, at the column before the first
  latent and at each latent, so that column k is the one latent k is thought from;
- only with attention, ``reads`` (n, L, A, K + 1, K + 2): how K latents and the answer share out their attention over the
  question, the K latents and everything else; ``question`` (n, L, A, K, Q): the latents' attention to every question token.

A shard is written under a temporary name and renamed, so a collection that was killed goes on with the first missing shard,
and at no time are more than one shard and one batch in memory.
"""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow
import torch
from pyarrow import parquet
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import PreTrainedTokenizerBase

from latent_trainer.data.collator import LatentCollator
from latent_trainer.data.encoding import EncodedProblem, Encoder
from latent_trainer.data.lengths import Room
from latent_trainer.data.problem import Problem
from latent_trainer.data.template import Template
from latent_trainer.errors import InputError
from latent_trainer.evaluation.generation import new_tokens
from latent_trainer.evaluation.record import data_hash
from latent_trainer.methods.curriculum import EVERYTHING, Plan

SHARD = 128  # problems of a file


class Traces:
    """A folder of finished traces.

    Args:
        folder: where `collect` wrote.

    Raises:
        FileNotFoundError: no traces there, or a collection that has not ended.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        if not (self.folder / "traces.json").is_file():
            raise FileNotFoundError(f"no traces in {folder}; collect them first")
        self.header = json.loads((self.folder / "traces.json").read_text(encoding="utf-8"))
        rows = parquet.read_table(self.folder / "problems.parquet").to_pylist()
        self.problems = [Problem(**row) for row in rows]
        self.num_latents, self.layers = self.header["num_latents"], self.header["layers"]
        self._shards = [self.folder / _shard_name(number) for number in range(-(-len(rows) // SHARD))]
        missing = sum(not shard.is_file() for shard in self._shards)
        if missing:
            raise FileNotFoundError(f"{missing} of {len(self._shards)} shards are missing in {folder}; collect them first")

    def read(self, name: str, layer: int | None = None, most: int | None = None) -> np.ndarray:
        """Return a tensor of all problems, or of the first ``most``, as float32 (N, ...).

        Args:
            name: latents, hidden, reads or question.
            layer: take only this entry of the second dimension, which is then gone.
            most: problems at most.
        """
        number = len(self.problems) if most is None else min(most, len(self.problems))
        parts = []
        for shard in self._shards[: -(-number // SHARD)]:
            with safe_open(shard, "pt") as file:
                part = file.get_slice(name)
                parts.append((part[:] if layer is None else part[:, layer]).float())
        return torch.cat(parts)[:number].numpy()


@torch.no_grad()
def collect(
    model,
    tokenizer: PreTrainedTokenizerBase,
    problems: list[Problem],
    num_latents: int,
    template: str | dict | Template,
    folder: str | Path,
    batch_size: int = 32,
    attention: bool = False,
    model_id: str = "",
    on_batch: Callable[[int], None] | None = None,
) -> Traces:
    """Collect the traces of problems, each with its right answer after its thought, or the rest of them.

    Args:
        model: a `LatentForCausalLM`; with ``attention`` one whose base was loaded with attn_implementation="eager".
        tokenizer: the tokenizer saved with it.
        problems: what is traced; those that do not fit the context are left out, as in an evaluation.
        num_latents: K.
        template: how prompts are written.
        folder: where they go.
        batch_size: problems per pass.
        attention: also collect attention.
        model_id: what tells this model from another one.
        on_batch: called with the number of problems that are done.

    Raises:
        ValueError: no latents, no problem that fits the context, traces of other settings in the folder, or a model that
            gives out no attention.
    """
    if num_latents < 1:
        raise InputError(f"num_latents={num_latents}: there is nothing to trace; give a model with latents or num_latents")
    encoder = Encoder(tokenizer, template)
    plan = Plan(num_latents, EVERYTHING)
    room = Room(encoder, model.config.max_position_embeddings, num_latents, new_tokens(model))
    rows, _ = room.answered(encoder.problems(problems))
    rows, _ = room.read(rows, lambda row: [plan])
    problems = [row.problem for row in rows]
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    header = {
        "model": model_id,
        "data_hash": data_hash(problems),
        "num_latents": num_latents,
        "template": encoder.template.to_dict(),
        "layers": model.config.num_hidden_layers,
        "attention": attention,
        "shard": SHARD,
    }
    _write_header(folder, header, problems)
    widest = max(len(row.prompt) for row in rows)  # Q
    was_training = model.training
    model.eval()
    for number, start in enumerate(range(0, len(rows), SHARD)):
        chosen = rows[start : start + SHARD]
        target = folder / _shard_name(number)
        if not target.is_file():
            parts = [
                _trace(model, encoder, chosen[at : at + batch_size], plan, widest if attention else None)
                for at in range(0, len(chosen), batch_size)
            ]
            tensors = {name: torch.cat([part[name] for part in parts]).contiguous() for name in parts[0]}
            partial = target.with_suffix(".partial")
            save_file(tensors, partial)
            partial.replace(target)
        if on_batch is not None:
            on_batch(start + len(chosen))
    model.train(was_training)
    return Traces(folder)


def _shard_name(number: int) -> str:
    return f"shard-{number:05}.safetensors"


def _write_header(folder: Path, header: dict, problems: list[Problem]) -> None:
    """Write what the traces are of; where it is there already, it must be the same."""
    place = folder / "traces.json"
    if place.is_file():
        known = json.loads(place.read_text(encoding="utf-8"))
        differing = sorted(name for name in {*header, *known} if header.get(name) != known.get(name))
        if differing:
            raise InputError(
                f"{folder} holds other traces (other {', '.join(differing)}); choose another folder or delete it"
            )
        return
    columns = [{**asdict(problem), "steps": list(problem.steps)} for problem in problems]
    steps = pyarrow.field("steps", pyarrow.list_(pyarrow.string()))  # a column of empty lists has no type of its own
    fields = [pyarrow.field(name, pyarrow.string()) for name in ("question", "answer", "id", "family", "check")]
    schema = pyarrow.schema([*fields, steps, pyarrow.field("difficulty", pyarrow.int64())])
    parquet.write_table(pyarrow.Table.from_pylist(columns, schema), folder / "problems.parquet")
    partial = place.with_suffix(".partial")
    partial.write_text(json.dumps(header, indent=2) + "\n", encoding="utf-8")
    partial.replace(place)  # last: a header stands for a complete table


def _trace(model, encoder: Encoder, rows: list[EncodedProblem], plan: Plan, widest: int | None) -> dict[str, torch.Tensor]:
    """Return the tensors of one batch; with ``widest`` those of attention too, over as many question tokens."""
    views = [encoder.latent_view(row, plan) for row in rows]
    batch = LatentCollator(encoder.pad)([(row.prompt, {"latent": view}) for row, view in zip(rows, views, strict=True)])
    after = batch["views"]["latent"]
    ids, mask = (torch.cat([batch[name], after[name]], 1).to(model.device) for name in ("input_ids", "attention_mask"))
    prompt = batch["input_ids"].shape[1]
    first = prompt + encoder.template.markers  # column of the first latent, the same in every row
    output = model.run(ids, mask, output_hidden_states=True)
    columns = slice(first - 1, first + plan.latents)
    traced = {
        "latents": output.latents[:, first : first + plan.latents].cpu(),  # (B, K, H)
        "hidden": torch.stack([layer[:, columns] for layer in output.hidden_states], 1).cpu(),  # (B, L + 1, K + 1, H)
    }
    if widest is None:
        return traced
    attentions = model.get_decoder()(
        inputs_embeds=output.latents,
        attention_mask=mask,
        position_ids=(mask.cumsum(1) - 1).clamp(min=0),
        use_cache=False,
        output_attentions=True,
    ).attentions
    if not attentions or attentions[0] is None:
        raise InputError("the model gives out no attention; load it with attn_implementation='eager'")
    return traced | _attention(torch.stack(attentions, 1), rows, views, prompt, first, plan.latents, widest)


def _attention(weights: torch.Tensor, rows, views, prompt: int, first: int, number: int, widest: int) -> dict:
    """Return the summaries of attention weights (B, L, A, T, T)."""
    latents = slice(first, first + number)
    answers = []
    for row, view, own in zip(rows, views, weights, strict=True):  # an answer token is written by the column before it
        start = prompt + view.answer_start - 1
        answers.append(own[:, :, start : start + len(row.answer) - 1].mean(2, keepdim=True))  # its end of text left out
    readers = torch.cat([weights[:, :, :, latents], torch.stack(answers)], 3)  # (B, L, A, K + 1, T)
    question, thought = readers[..., :prompt].sum(-1, keepdim=True), readers[..., latents]
    rest = readers.sum(-1, keepdim=True) - question - thought.sum(-1, keepdim=True)
    tokens = readers.new_full((*readers.shape[:3], number, widest), float("nan"))
    for place, row in enumerate(rows):
        length = len(row.prompt)
        tokens[place, ..., :length] = readers[place, :, :, :number, prompt - length : prompt]
    return {"reads": torch.cat([question, thought, rest], -1).cpu(), "question": tokens.cpu()}
