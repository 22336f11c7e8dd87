"""Many sets of answers to the same problems: each question is read once, each thought is thought once."""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from transformers import Cache

from latent_trainer.data.encoding import Encoder, pad_rows
from latent_trainer.data.problem import Problem
from latent_trainer.data.template import resolve_template
from latent_trainer.evaluation.evaluator import Evaluator
from latent_trainer.evaluation.generation import Answer, generate_answers
from latent_trainer.evaluation.journal import Journal
from latent_trainer.evaluation.mode import evaluating
from latent_trainer.model.asked_latents import other_numbers_on_purpose
from latent_trainer.rollout.cache import branch

FREE, FORCED, FLOOR = "free", "forced", "floor"
HELD = 1 << 30  # bytes of caches that are kept from one set of answers to the next
SPARE_TOKENS = 4  # beyond the longest reference, so that a longer answer is not cut down to a right one


@dataclass(frozen=True)
class Thoughts:
    """What a model thinks of n problems, on the CPU.

    Args:
        latents: (n, K, H) input embeddings that stand at the latents.
        hidden: (n, K, H) last hidden states of the columns they are thought from.
        question: (n, H) last hidden state of the question.
    """

    latents: torch.Tensor
    hidden: torch.Tensor
    question: torch.Tensor


class Battery:
    """Answer problems under many conditions, freely or with the answer's prefix given right after the thought.

    Args:
        evaluator: of the model and the problems; its folder gets a journal a condition.
        on_answers: called with the number of answers that were just given.
        known: name of a condition -> answers that were given earlier.
        traced: latents (N, K, H) that were thought earlier, and the last hidden states (N, K, H) they are thought from.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        on_answers: Callable[[int], None] = lambda number: None,
        known: dict[str, dict[tuple[str, int], Answer]] | None = None,
        traced: tuple[torch.Tensor, torch.Tensor] | None = None,
    ):
        self.evaluator, self.on_answers = evaluator, on_answers
        self.known, self.traced = known or {}, traced
        self.model, self.tokenizer = evaluator.model, evaluator.tokenizer
        self.problems, self.num_latents, self.seed = evaluator.problems, evaluator.num_latents, evaluator.seed
        template = resolve_template(evaluator.template)
        self.templates = {
            FREE: template,
            FORCED: replace(template, score_answer_prefix=False),
            FLOOR: replace(template, score_answer_prefix=False, markers=False),
        }
        self.encoder = Encoder(self.tokenizer, template)
        self._sheets: dict[str, tuple[dict, Journal | None]] = {}
        self._finished: set[str] = set()
        self._caches: OrderedDict[tuple[str, ...], tuple] = OrderedDict()

    @property
    def always_forced(self) -> bool:
        """Whether the template gives the answer's prefix to every prompt, so that there is no free answer."""
        return not self.templates[FREE].score_answer_prefix

    def new_tokens(self, mode: str) -> int:
        """Return how many tokens are written at most: of a forced answer hardly more than the longest reference takes."""
        most = self.evaluator.max_new_tokens
        if mode == FREE:
            return most
        ends = [len(Encoder(self.tokenizer, self.templates[one]).prompt_end(self.num_latents)) for one in (FORCED, FREE)]
        return max(1, min(self._longest + SPARE_TOKENS, most - (ends[0] - ends[1])))

    @cached_property
    def _longest(self) -> int:
        return max(len(row.answer) for row in self.encoder.problems(self.problems))

    def opening(self, num_latents: int) -> list[int]:
        """Return the ids that follow a question up to the last of its latents, or up to where it would answer."""
        factor = self.encoder.template.compression
        opening = self.encoder.speed(factor) + self.encoder.thought(num_latents)
        return opening[: opening.index(self.encoder.latent) + num_latents] if num_latents else opening

    def batches(self, rows: list[int] | None = None) -> Iterator["Batch"]:
        """Yield the problems at ``rows``, by default all, in batches of similar length; their ``rows`` are those numbers."""
        chosen = list(range(len(self.problems))) if rows is None else rows
        for batch in self.batched([self.problems[row] for row in chosen]):
            yield Batch(self, batch.problems, [chosen[place] for place in batch.rows])

    def batched(self, problems: list[Problem]) -> Iterator["Batch"]:
        """Yield other problems in batches, the longest question first; their ``rows`` are places in the list."""
        order = sorted(range(len(problems)), key=lambda row: -len(problems[row].question))
        for start in range(0, len(order), self.evaluator.batch_size):
            own = order[start : start + self.evaluator.batch_size]
            yield Batch(self, [problems[row] for row in own], own)

    @cached_property
    def thoughts(self) -> Thoughts:
        """What the model thinks of all problems."""
        if self.traced is None:
            return self.think(self.problems)
        latents, hidden = self.traced
        return replace(self.think(self.problems, latents), latents=latents, hidden=hidden)

    def think(self, problems: list[Problem], given: torch.Tensor | None = None) -> Thoughts:
        """Return what the model thinks of some problems, in their order; ``given`` latents are read, not thought."""
        batches = list(self.batched(problems))
        parts = [batch.think(None if given is None else given[batch.rows]) for batch in batches]
        back = torch.tensor([row for batch in batches for row in batch.rows]).argsort()
        fields = (torch.cat([getattr(part, name) for part in parts])[back] for name in Thoughts.__annotations__)
        return Thoughts(*fields)

    def sheet(self, name: str, mode: str, num_latents: int) -> tuple[dict, Journal | None]:
        """Return the answers that are known under a name, and where new ones are written."""
        if name not in self._sheets:
            changes = {"template": self.templates[mode].to_dict(), "max_new_tokens": self.new_tokens(mode)}
            journal = self.evaluator.journal(name, num_latents, **changes)
            self._sheets[name] = (self.known.get(name, {}) | ({} if journal is None else journal.answers), journal)
        return self._sheets[name]

    def answers(self, name: str, problems: list[Problem] | None = None) -> list[Answer]:
        """Return all answers under a name in the order of the problems, and close its journal.

        Args:
            name: that `Batch.answer` was called with for each of them.
            problems: by default all.
        """
        known, journal = self._sheets[name]
        ordered = [known[problem.id, 0] for problem in (self.problems if problems is None else problems)]
        if journal is not None and name not in self._finished:
            journal.finish(ordered)
            self._finished.add(name)
        return ordered

    def cache_of(self, batch: "Batch") -> Cache | None:
        """Return the cache of a batch's questions without their last token; None where they have one token.

        The last token is read with what follows, so that a thought has a column to start from.
        """
        key = tuple(problem.question for problem in batch.problems)
        if key not in self._caches:
            ids, mask = batch.questions
            cache, size = None, 0
            if ids.shape[1] > 1:
                with torch.no_grad(), evaluating(self.model):
                    cache = self.model.run(ids[:, :-1], mask[:, :-1], use_cache=True).cache
                size = sum(_bytes(layer) for layer in cache.layers)
            self._caches[key] = (cache, size)
            while len(self._caches) > 1 and sum(one for _, one in self._caches.values()) > HELD:
                self._caches.popitem(last=False)
        self._caches.move_to_end(key)
        cache = self._caches[key][0]
        return None if cache is None else branch(cache)


class Batch:
    """Some problems that are asked together.

    Args:
        battery: whose they are.
        problems: b problems, the longest question first.
        rows: their numbers in whatever they were taken from.
    """

    def __init__(self, battery: Battery, problems: list[Problem], rows: list[int]):
        self.battery, self.problems, self.rows = battery, problems, rows

    @cached_property
    def questions(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Token ids and mask (b, T) of the questions, padded on the left."""
        encoder, device = self.battery.encoder, self.battery.model.device
        padded = pad_rows([encoder.question(one.question) for one in self.problems], encoder.pad, left=True)
        return padded["input_ids"].to(device), padded["attention_mask"].to(device)

    @property
    def cache(self) -> Cache | None:
        """A branch of the cache of the questions, for one use."""
        return self.battery.cache_of(self)

    def continued(self, after: list[int], cache: Cache | None) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the ids (b, n) that follow a cache of the questions, ``after`` behind each of them, and the whole mask."""
        ids, mask = self.questions
        more = ids.new_tensor([after]).expand(len(ids), -1)  # (b, a)
        whole = torch.cat([mask, torch.ones_like(more)], 1)
        return torch.cat([ids if cache is None else ids[:, -1:], more], 1), whole

    @torch.no_grad()
    def think(self, given: torch.Tensor | None = None, use_cache: bool = False) -> Thoughts | Cache:
        """Return what the model thinks of these problems.

        Args:
            given: (b, K, H) latents that are not thought but given, NaN where the model is to think.
            use_cache: return the cache of questions and thoughts, up to the last latent, instead.
        """
        model, number = self.battery.model, self.battery.num_latents
        cache = self.cache
        opening = self.battery.opening(number)
        ids, mask = self.continued(opening, cache)
        given = None if given is None else given.to(model.device, model.dtype)
        with evaluating(model):
            output = model.run(ids, mask, past_key_values=cache, latents=given, use_cache=use_cache)
        if use_cache:
            return output.cache
        first = ids.shape[1] - number  # column of the first latent
        question = ids.shape[1] - len(opening) - 1
        return Thoughts(
            _exact(output.latents[:, first:]),
            _exact(output.hidden[:, first - 1 : first - 1 + number]),
            _exact(output.hidden[:, question]),
        )

    def answer(
        self,
        name: str,
        mode: str,
        latents: Callable[[], torch.Tensor] | None = None,
        num_latents: int | None = None,
        cache: Callable[["Batch"], Cache] | None = None,
    ) -> list[Answer]:
        """Return the answers to these problems under a condition; those that are known are not given again.

        Args:
            name: of the condition; also of its journal.
            mode: FREE, FORCED (the prefix of the answer is given) or FLOOR (given, and no thought at all).
            latents: returns (b, K', H) embeddings that stand in for the thoughts; without them the model thinks.
            num_latents: K', by default K.
            cache: returns a cache of the questions of a batch and more to continue from, instead of that of the questions.
        """
        battery = self.battery
        number = battery.num_latents if num_latents is None else num_latents
        known, journal = battery.sheet(name, mode, number)
        missing = [row for row, problem in enumerate(self.problems) if (problem.id, 0) not in known]
        if missing:
            whole = len(missing) == len(self.problems)
            part = (
                self
                if whole
                else Batch(battery, [self.problems[row] for row in missing], [self.rows[row] for row in missing])
            )
            given = None if latents is None else latents()[missing]
            shared = part.cache if cache is None else cache(part)
            options = {} if shared is None else {"past_key_values": shared}
            with other_numbers_on_purpose():
                answers = generate_answers(
                    battery.model,
                    battery.tokenizer,
                    part.problems,
                    number,
                    battery.templates[mode],
                    batch_size=len(missing),
                    max_new_tokens=battery.new_tokens(mode),
                    latents=given,
                    numbers=[number] * len(missing),  # a model that ends its thoughts itself would open one of its own
                    on_batch=journal and journal.append,
                    **options,
                )
            known |= {(answer.id, answer.sample): answer for answer in answers}
            battery.on_answers(len(answers))
        return [known[problem.id, 0] for problem in self.problems]


def _exact(tensor: torch.Tensor) -> torch.Tensor:
    """Return a tensor on the CPU, in single precision where it had less, so that what is made of it is not rounded anew."""
    return tensor.cpu() if tensor.dtype == torch.float64 else tensor.float().cpu()


def _bytes(layer) -> int:
    """Return the bytes of a cache layer's keys and values."""
    held = (getattr(layer, name, None) for name in ("keys", "values"))
    return sum(one.numel() * one.element_size() for one in held if isinstance(one, torch.Tensor))
