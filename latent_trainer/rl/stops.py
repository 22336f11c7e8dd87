"""Thoughts that end by themselves: opened in a model, started from the shortest right ones, and scored."""

import torch
from datasets import Dataset, IterableDataset
from peft import PeftModel
from torch import nn

from latent_trainer.data import as_problems, encode_prompts
from latent_trainer.data.problem import Problem
from latent_trainer.errors import InputError
from latent_trainer.evaluation.generation import generate_answers
from latent_trainer.evaluation.mode import evaluating
from latent_trainer.model.modeling import LatentForCausalLM
from latent_trainer.rl.config import ThoughtConfig

ROUNDS, DECAY = 200, 1e-3  # of the fit of a new head, and the weight of its square


def open_thoughts(model: nn.Module, latent: LatentForCausalLM, args: ThoughtConfig, tokenizer, template, dataset) -> int:
    """Have a model end its thoughts as ``args.stop`` says; return the most latents it may think.

    Args:
        model: the latent model, or it in a `PeftModel`.
        latent: the latent model.
        args: the settings.
        tokenizer, template: of the model.
        dataset: the training problems; a new head starts from the first of them.

    Raises:
        InputError: a template without marks of a thought, no number of latents, a head beside stop=entropy, a new head in a
            model with adapters, or one that is to start from a data set without problems.
    """
    most = latent.config.num_latents if args.max_latents is None else args.max_latents
    if not template.markers:
        raise InputError(f"stop={args.stop} ends a thought at its mark, and the template has markers=False; use stop=fixed")
    if most < 1:
        raise InputError(f"stop={args.stop} needs the most latents of a thought; give max_latents")
    if args.stop == "entropy" and latent.stop_head is not None:
        raise InputError(
            "stop=entropy ends a thought at a sure next token, and the model has a stop head, which ends it before; take "
            "stop=learned, or a model without one"
        )
    take_length(latent, most, opens=True)
    latent.config.stop_entropy = args.stop_entropy
    if args.stop != "learned" or latent.stop_head is not None:
        return most
    if isinstance(model, PeftModel):
        raise InputError(
            "stop=learned adds a head that the model's adapters would not save; give the trainer a peft_config instead"
        )
    latent.add_stop_head()
    if args.cold_start:
        if not isinstance(dataset, Dataset | IterableDataset) or "answer" not in (dataset.column_names or ()):
            raise InputError("a new stop head starts from problems; give a data set of problems, or cold_start=0")
        problems = as_problems(Dataset.from_list(list(dataset.take(args.cold_start))))
        shortest = shortest_right(latent, tokenizer, problems, most, template, args.max_completion_length)
        start_head(latent, tokenizer, problems, shortest, template)
    return most


def take_length(latent: LatentForCausalLM, num_latents: int, opens: bool) -> None:
    """Have a model say how many latents it thinks from now on, and leave as much room for what it writes as it has now.

    Args:
        latent: the latent model.
        num_latents: of a thought; the most of one that the model ends itself.
        opens: whether the model ends its thoughts itself; these count among new tokens, as does the mark that ends them.
    """
    config, settings = latent.config, latent.generation_config
    before = config.num_latents + 1 if config.open_thought else 0
    config.num_latents, config.open_thought = num_latents, opens
    if settings.max_new_tokens is not None:
        settings.max_new_tokens += (num_latents + 1 if opens else 0) - before


def shortest_right(
    model: LatentForCausalLM, tokenizer, problems: list[Problem], most: int, template, max_new_tokens: int
) -> list[int | None]:
    """Return for every problem the shortest thought, of up to ``most`` latents, after which the model is right; or None."""
    found: list[int | None] = [None] * len(problems)
    for number in range(most + 1):
        left = [place for place, known in enumerate(found) if known is None]
        answers = generate_answers(
            model,
            tokenizer,
            [problems[place] for place in left],
            most,
            template,
            batch_size=128,
            max_new_tokens=max_new_tokens + 1,  # the mark that ends the thought is one
            numbers=[number] * len(left),
        )
        for place, answer in zip(left, answers, strict=True):
            found[place] = number if answer.correct else None
    return found


def start_head(model: LatentForCausalLM, tokenizer, problems: list[Problem], lengths: list[int | None], template) -> None:
    """Fit the stop head, and nothing else, to thoughts of these lengths; problems with None are left out.

    Raises:
        InputError: no problem has a length.
    """
    kept = [(problem, length) for problem, length in zip(problems, lengths, strict=True) if length is not None]
    if not kept:
        raise InputError(
            "the model answers none of the problems right, however long it thinks, so that no stop head can start from "
            "them; train the model further, or set cold_start=0"
        )
    states, ends = [], []
    with torch.no_grad(), evaluating(model):
        for start in range(0, len(kept), 128):
            part = kept[start : start + 128]
            batch = encode_prompts([one.question for one, _ in part], tokenizer, max(length for _, length in part), template)
            ids, mask = batch["input_ids"].to(model.device), batch["attention_mask"].to(model.device)
            hidden = model.run(ids, mask).hidden  # (B, T, H)
            first = (ids == model.config.bot_token_id).int().cumsum(1).argmax(1)  # (B,), the last <|bot|>
            for row, (_, length) in enumerate(part):
                states.append(hidden[row, first[row] : first[row] + length + 1])  # (length + 1, H)
                ends.append(torch.arange(length + 1, device=hidden.device) == length)
    fit(model.stop_head, torch.cat(states), torch.cat(ends))


def fit(head: nn.Linear, states: torch.Tensor, ends: torch.Tensor) -> None:
    """Fit a head (H to 1) to say ``ends`` (N,) of ``states`` (N, H): logistic regression, in float32."""
    own = nn.Linear(states.shape[1], 1, device=states.device)
    nn.init.zeros_(own.weight)
    nn.init.zeros_(own.bias)
    optimizer = torch.optim.LBFGS(own.parameters(), max_iter=ROUNDS, line_search_fn="strong_wolfe")
    states, ends = states.detach().float(), ends.float()

    @torch.enable_grad()
    def loss():
        optimizer.zero_grad()
        scores = own(states).squeeze(-1)
        value = nn.functional.binary_cross_entropy_with_logits(scores, ends) + DECAY * own.weight.pow(2).sum()
        value.backward()
        return value

    optimizer.step(loss)
    with torch.no_grad():
        head.weight.copy_(own.weight)
        head.bias.copy_(own.bias)


def with_stops(tokens: torch.Tensor, scores: torch.Tensor, numbers: torch.Tensor, temperature: float) -> torch.Tensor:
    """Return log-probabilities (B, C) with what a stop head has decided: added where a thought goes on, in the place of
    ``<|eot|>`` where it ends.

    Args:
        tokens: (B, C), of completions that begin with the thought, those of latents in their columns.
        scores: (B, C) log-odds that the thought ends before each column.
        numbers: (B,) latents of each row.
        temperature: that stops were drawn with.
    """
    place, numbers = torch.arange(tokens.shape[1], device=tokens.device), numbers.unsqueeze(1)
    scores = (scores.float() if scores.dtype != torch.float64 else scores) / temperature
    go_on = tokens + nn.functional.logsigmoid(-scores).to(tokens.dtype)
    end = nn.functional.logsigmoid(scores).to(tokens.dtype)
    return torch.where(place < numbers, go_on, torch.where(place == numbers, end, tokens))
