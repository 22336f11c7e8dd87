"""What must hold for one architecture, each against the plainest computation: the base model alone, everything anew.

The reference puts a latent where the embedding of its placeholder would be: the base model reads ids, and a hook replaces
what its embedding looks up. So it knows nothing of any family, and nothing of the library.
"""

import os
import tempfile
import traceback
from collections.abc import Callable

import torch
from tiny_bases import BOT, EOT, LATENT, base_model
from torch import nn
from torch.autograd.graph import _engine_run_backward
from torch.overrides import TorchFunctionMode

from latent_trainer import LatentForCausalLM
from latent_trainer.errors import InputError
from latent_trainer.rollout.base_form import decoder_of

ROWS = [
    [5, 61, 17, 33, 8, BOT, LATENT, LATENT, LATENT, EOT, 23, 9, 52],
    [44, 19, 66, BOT, LATENT, EOT, 38, 7],
]
PROMPTS = [row[: row.index(BOT)] for row in ROWS]
WRITTEN = [[81, 54, 16, 30], [62, 25, 90]]  # explicit views
TOLERANCE = 1e-8
LOOPS = 2


class Float64(TorchFunctionMode):
    """Within the block what models compute in float32 "islands" is computed in float64."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        def double(value):
            return torch.float64 if value is torch.float32 else value

        kwargs = {name: double(value) for name, value in (kwargs or {}).items()}
        if func is torch.Tensor.float:
            return args[0].double()
        return func(*(double(value) for value in args), **kwargs)


def error(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Return the largest difference over the largest value expected."""
    if found.shape != expected.shape:
        return float("inf")
    if expected.numel() == 0:
        return 0.0
    difference = ((found - expected).abs().max() / expected.abs().max().clamp(min=1e-12)).item()
    return difference if difference == difference else float("inf")


class Reference:
    """The base model's own forward over whole rows, without a cache."""

    def __init__(self, base: nn.Module):
        self.base = base
        decoder = decoder_of(base)
        self.decoders = {decoder, decoder.get_decoder()}  # some models run the part within that does it all

    def run(self, ids: list[int], filled: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return last hidden states (1, T, H) and logits (1, T, V) of a row whose embeddings are ``filled`` (1, T, H)."""
        seen = []
        hooks = [
            self.base.get_input_embeddings().register_forward_hook(lambda *_: filled.clone()),
            *(one.register_forward_hook(lambda module, args, output: seen.append(output[0])) for one in self.decoders),
        ]
        try:
            logits = self.base(input_ids=torch.tensor([ids]), use_cache=False).logits
        finally:
            for hook in hooks:
                hook.remove()
        return seen[-1], logits

    def row(self, ids: list[int], backprop: str = "full", only: bool = False) -> torch.Tensor:
        """Return the logits (T, V) of a row with latents; with ``backprop="last"`` gradient flows through the last alone."""
        filled = self.base.get_input_embeddings()(torch.tensor([ids]))
        columns = [column for column, token in enumerate(ids) if token == LATENT]
        for column in columns:
            hidden, _ = self.run(ids[:column], filled[:, :column])
            latent = hidden[:, -1:]
            if backprop == "last" and column != columns[-1]:
                latent = latent.detach()
            filled = torch.cat([filled[:, :column], latent.to(filled.dtype), filled[:, column + 1 :]], 1)
        return self.run(ids, filled)[1][0]

    def looped_row(self, ids: list[int]) -> torch.Tensor:
        """Return the logits (T, V) of a row whose latents are refined `LOOPS` times, each out of its own column."""
        embeds = self.base.get_input_embeddings()(torch.tensor([ids]))
        is_latent = torch.tensor([ids]).eq(LATENT).unsqueeze(-1)
        filled = embeds
        for _ in range(LOOPS):
            filled = torch.where(is_latent, embeds + self.run(ids, filled)[0].to(embeds.dtype), embeds)
        return self.run(ids, filled)[1][0]

    def loss(self, rows: list[list[int]], starts: list[int], backprop: str = "full") -> torch.Tensor:
        """Return the summed cross-entropy of every row's tokens from its start on, thought tokens left out."""
        total = 0.0
        for ids, start in zip(rows, starts, strict=True):
            logits = self.looped_row(ids) if backprop == "looped" else self.row(ids, backprop)
            for column in range(start, len(ids)):
                total = total + nn.functional.cross_entropy(logits[column - 1 : column], torch.tensor([ids[column]]))
        return total


def padded(rows: list[list[int]], left: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ids and mask (B, T)."""
    width = max(map(len, rows))
    ids = [[0] * (width - len(row)) + row if left else row + [0] * (width - len(row)) for row in rows]
    mask = [[0] * (width - len(row)) + [1] * len(row) if left else [1] * len(row) + [0] * (width - len(row)) for row in rows]
    return torch.tensor(ids), torch.tensor(mask)


def gradients(model: nn.Module, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return every parameter's gradient."""
    model.zero_grad()
    # what `loss.backward()` does, but within `Float64`, for checkpoints recompute there
    _engine_run_backward((loss,), (torch.ones_like(loss),), False, False, (), allow_unreachable=True, accumulate_grad=True)
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None}


def gradient_error(found: dict, expected: dict) -> float:
    """Return the largest difference of any gradient over the largest of all."""
    scale = max(value.abs().max().item() for value in expected.values())
    zero = torch.zeros(())
    pairs = [(found.get(name, zero), expected.get(name, zero)) for name in {*found, *expected}]
    worst = max((one - other).abs().max().item() for one, other in pairs) / scale
    return worst if worst == worst else float("inf")


def view_batch() -> dict:
    """Return a training batch with a latent and an explicit view of both rows."""
    ids, mask = padded(PROMPTS, left=True)
    thoughts = [row[len(prompt) :] for row, prompt in zip(ROWS, PROMPTS, strict=True)]
    views = {}
    for name, rows in (("latent", thoughts), ("explicit", WRITTEN)):
        view, view_mask = padded(rows, left=False)
        labels = torch.where(view_mask.bool(), view, -100)
        if name == "latent":
            closed = torch.tensor([[row.index(EOT)] for row in rows])
            labels = torch.where(torch.arange(view.shape[1]) > closed, labels, -100)
        start = torch.tensor([row.index(EOT) + 1 if name == "latent" else 0 for row in rows])
        views[name] = {"input_ids": view, "attention_mask": view_mask, "labels": labels, "answer_start": start}
    return {"input_ids": ids, "attention_mask": mask, "views": views}


class Checks:
    """The checks of one base model, by name."""

    def __init__(self, base: nn.Module):
        self.base = base.double().eval()
        self.reference = Reference(self.base)
        self.model = LatentForCausalLM.from_base(
            self.base, latent_token_id=LATENT, bot_token_id=BOT, eot_token_id=EOT
        ).eval()
        self.known: dict = {}

    def expected(self, backprop: str, names: tuple[str, ...]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Return loss and gradients of the reference over views, row by row."""
        parts = [self._expected(backprop if name == "latent" else "full", name) for name in names]
        sums: dict[str, torch.Tensor] = {}
        for _, found in parts:
            sums = {name: sums.get(name, 0) + found.get(name, 0) for name in {*sums, *found}}
        return sum(loss for loss, _ in parts), sums

    def _expected(self, backprop: str, name: str):
        if (backprop, name) not in self.known:
            rows, starts = ROWS, [row.index(EOT) + 1 for row in ROWS]
            if name == "explicit":
                rows = [prompt + written for prompt, written in zip(PROMPTS, WRITTEN, strict=True)]
                starts = [len(prompt) for prompt in PROMPTS]
            loss = self.reference.loss(rows, starts, backprop)
            self.known[backprop, name] = loss.detach(), gradients(self.base, loss)
        return self.known[backprop, name]

    @torch.no_grad()
    def plain(self) -> float:
        """Rows without a latent have the base model's logits."""
        ids = torch.tensor([PROMPTS[0] + WRITTEN[0]])
        return error(self.model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits, self.base(input_ids=ids).logits)

    @torch.no_grad()
    def latents(self) -> float:
        """Each row alone, without a mask."""
        return max(error(self.model(input_ids=torch.tensor([row])).logits[0], self.rows[at]) for at, row in enumerate(ROWS))

    @property
    def rows(self) -> list[torch.Tensor]:
        """The reference's logits of both rows."""
        if "rows" not in self.known:
            with torch.no_grad():
                self.known["rows"] = [self.reference.row(row) for row in ROWS]
        return self.known["rows"]

    @torch.no_grad()
    def padding(self) -> float:
        """Both rows in one batch, padded on the right, then on the left."""
        worst = 0.0
        for left in (False, True):
            ids, mask = padded(ROWS, left)
            logits = self.model(input_ids=ids, attention_mask=mask).logits
            pairs = [(logits[at][mask[at].bool()], self.rows[at]) for at in range(len(ROWS))]
            worst = max([worst, *(error(*pair) for pair in pairs)])
        return worst

    @torch.no_grad()
    def generate(self) -> float:
        """Greedy text of a ragged batch; the share of tokens that differ."""
        for name in ("forced_eos_token_id", "forced_bos_token_id", "begin_suppress_tokens"):  # whatever the family writes
            setattr(self.model.generation_config, name, None)
        never = [LATENT, BOT, 0, 2]  # nor padding, which some models count in the text
        self.model.generation_config.suppress_tokens = never
        rows = [row[: row.index(EOT) + 2] for row in ROWS]
        ids, mask = padded(rows, left=True)
        found = self.model.generate(input_ids=ids, attention_mask=mask, max_new_tokens=4, min_new_tokens=4, do_sample=False)
        wrong = 0
        for row, written in zip(rows, found[:, ids.shape[1] :].tolist(), strict=True):
            logits = self.reference.row(row + written)[len(row) - 1 : -1]
            logits[:, never] = -torch.inf
            best = logits.amax(-1)
            chosen = logits[range(len(written)), written]
            wrong += int((best - chosen > 1e-7 * best.abs()).sum())
        return wrong / found[:, ids.shape[1] :].numel()

    def _views(self, backprop: str = "full", names: tuple[str, ...] = ("latent", "explicit"), **settings) -> float:
        batch = view_batch()
        batch["views"] = {name: batch["views"][name] for name in names}
        looped = settings.get("rollout") == "looped"
        expected, wanted = self.expected("looped" if looped else backprop, names)
        checkpoint = settings.pop("checkpoint", False)
        self.model.configure("hidden", backprop=backprop, **settings)
        (self.model.gradient_checkpointing_enable if checkpoint else self.model.gradient_checkpointing_disable)()
        self.model.train(checkpoint)
        try:
            loss = sum(view.token_loss.sum() for view in self.model(**batch).values())
            found = {name.removeprefix("base."): value for name, value in gradients(self.model, loss).items()}
        finally:
            self.model.gradient_checkpointing_disable()
            self.model.configure("hidden")
            self.model.eval()
        return max(error(loss.detach(), expected), gradient_error(found, wanted))

    def gradient(self) -> float:
        """The gradients of `forward` with labels over a right-padded batch."""
        ids, mask = padded(ROWS, left=False)
        starts = torch.tensor([[row.index(EOT) + 1] for row in ROWS])
        labels = torch.where(mask.bool() & (torch.arange(ids.shape[1]) >= starts), ids, -100)
        _, wanted = self.expected("full", ("latent",))
        loss = self.model(input_ids=ids, attention_mask=mask, labels=labels, num_items_in_batch=1).loss
        found = {name.removeprefix("base."): value for name, value in gradients(self.model, loss).items()}
        return gradient_error(found, wanted)

    def coconut(self) -> float:
        """A training step over the latent view."""
        return self._views(names=("latent",))

    def codi(self) -> float:
        """A training step over both views."""
        return self._views()

    def last(self) -> float:
        """The same with gradient through the last latent alone."""
        return self._views("last")

    def jacobi(self) -> float:
        """The same with as many parallel iterations as latents."""
        return self._views(rollout="jacobi", rollout_options={"iterations": 3})

    def looped(self) -> float:
        """The same with latents that are refined in parallel, each out of its own column."""
        return self._views(rollout="looped", rollout_options={"iterations": LOOPS})

    def checkpointing(self) -> float:
        """The same under gradient checkpointing."""
        return self._views(checkpoint=True)

    @torch.no_grad()
    def save_load(self) -> float:
        """A saved and loaded model, in float32."""
        ids, mask = padded(ROWS, left=False)
        model = self.model.float()
        torch.set_default_dtype(torch.float32)
        try:
            before = model(input_ids=ids, attention_mask=mask).logits
            with tempfile.TemporaryDirectory() as folder:
                model.save_pretrained(folder)
                loaded = LatentForCausalLM.from_pretrained(folder)
            after = loaded(input_ids=ids, attention_mask=mask).logits
        finally:
            torch.set_default_dtype(torch.float64)
            self.model.double()
        difference = error(after[mask.bool()], before[mask.bool()])
        return difference if difference > 1e-4 else 0.0


NAMES = (
    "plain",
    "latents",
    "padding",
    "generate",
    "gradient",
    "coconut",
    "codi",
    "last",
    "jacobi",
    "checkpointing",
    "save_load",
)


def outcome(check: Callable[[], float]) -> dict:
    """Run one check; return whether it is exact, refused, wrong or a crash, and by how much or with which words."""
    try:
        difference = check()
    except InputError as refusal:
        return {"outcome": "refused", "why": str(refusal)}
    except Exception as crash:  # any failure of any architecture is a finding, not the end of the sweep
        if os.environ.get("TRACEBACKS"):
            traceback.print_exc()
        where = crash.__traceback__
        while where.tb_next is not None:
            where = where.tb_next
        place = f"{where.tb_frame.f_code.co_filename.rsplit('/', 1)[-1]}:{where.tb_lineno}"
        return {"outcome": "crash", "why": f"{type(crash).__name__}: {str(crash)[:200]} ({place})"}
    return {"outcome": "exact" if difference <= TOLERANCE else "wrong", "error": difference}


def examine(kind: str, window: int | None = None, names: tuple[str, ...] = NAMES) -> dict:
    """Return the outcome of every check of one model type."""
    torch.set_default_dtype(torch.float64)
    with Float64():
        try:
            base = base_model(kind, window)
            probe = base.double()(input_ids=torch.tensor([PROMPTS[0]]), use_cache=False).logits
        except Exception as failure:  # the tiny configuration does not fit: said in the table
            return {"built": False, "why": f"{type(failure).__name__}: {' '.join(str(failure).split())[:200]}"}
        if not probe.isfinite().all():
            return {"built": False, "why": "the tiny model's own logits are not finite"}
        try:
            checks = Checks(base)
        except InputError as refusal:
            return {"built": True, "checks": {"plain": {"outcome": "refused", "why": str(refusal)}}}
        found = {"plain": outcome(checks.plain)}
        found |= {name: outcome(getattr(checks, name)) for name in names if name not in ("plain", "save_load")}
    if "save_load" in names:
        found["save_load"] = outcome(checks.save_load)
    return {"built": True, "checks": found}
