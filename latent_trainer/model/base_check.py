"""Whether a base model can think exactly, found by trying: its own forward against ours, latents against recomputation.

Names promise nothing: a decoder may take ``past_key_values`` and drop them, a head may scale, an embedding may be scaled
only where ids are given. So the first use of a model runs a few short rows through it. What the usual form gets wrong is
tried in other forms (`latent_trainer.rollout.base_form`); where none is right, the model is refused in one line.
"""

import contextlib
import inspect
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from itertools import product

import torch
import transformers
from torch import nn

from latent_trainer.compat import builds_causal_model, cache_argument, get_attention
from latent_trainer.errors import InputError
from latent_trainer.model.heads import linear_logits, own_logits
from latent_trainer.rollout.base_form import STATES, USUAL, BaseForm, decoder_of, read
from latent_trainer.rollout.cache import needs_own_cache
from latent_trainer.rollout.columns import Columns
from latent_trainer.rollout.fast.unread import read_from
from latent_trainer.rollout.reading import Reading
from latent_trainer.rollout.sequential import SequentialRollout
from latent_trainer.sharding import is_whole

SAME = {torch.float64: 1e-5, torch.float32: 1e-4}  # the same operations on the same numbers, some of them in float32
ALIKE = {torch.float64: 1e-4, torch.float32: 1e-2}  # the same sums in another order
COARSE = (2e-2, 0.25)  # either, for types of half precision
KNOWN: dict[tuple, BaseForm] = {}  # of models of the same modules, configuration and type, tried in this process


def form_of(model) -> BaseForm:
    """Return the form of a latent model's base: from its configuration, or by trying, and then kept there.

    Weights that are not here (the meta device) or not whole (ZeRO-3, FSDP2) cannot be tried; then it is what the cache's
    layers say.

    Args:
        model: a `LatentForCausalLM`.

    Raises:
        ValueError: no form is exact.
    """
    kept = dict(model.config.base_form or {})
    if kept.pop("transformers", None) == transformers.__version__:
        form = BaseForm(**kept)
        return USUAL if form == USUAL else form
    base = model.base
    if not is_whole(model) or torch.compiler.is_compiling():
        return _first_guess(base)
    kinds = tuple((type(module), "forward" in vars(module)) for module in base.modules())
    key = (kinds, base.dtype, get_attention(base.config), base.config.to_json_string())
    if key not in KNOWN:
        KNOWN[key] = _found(base, model.config)
    form = KNOWN[key]
    model.config.base_form = {**asdict(form), "transformers": transformers.__version__}
    return form


def is_quickly_tried(base: nn.Module) -> bool:
    """Whether trying a base model takes no time that anybody would notice."""
    return base.device.type not in ("cpu", "meta") or base.num_parameters() < 2**30


def _first_guess(base: nn.Module) -> BaseForm:
    """Return the form that a decoder's signature and cache tell of."""
    decoder = decoder_of(base)
    taken, name = inspect.signature(decoder.forward).parameters, cache_argument(decoder)
    form = BaseForm(
        cache_name=STATES if STATES in taken and name not in taken else name,
        own_cache=needs_own_cache(decoder.config),
    )
    return USUAL if form == USUAL else form


@contextlib.contextmanager
def _quiet(base: nn.Module):
    """Within the block the model is in evaluation mode, at its own precision, learns nothing and draws no numbers."""
    training = [module for module in base.modules() if module.training]
    with torch.no_grad(), torch.random.fork_rng(devices=[]), torch.autocast(base.device.type, enabled=False):
        base.eval()
        try:
            yield
        finally:
            for module in training:
                module.training = True


def _found(base: nn.Module, config) -> BaseForm:
    with _quiet(base):
        return _Trial(base, config).form()


class _Trial:
    """A few short rows through one base model.

    Args:
        base: the base model.
        config: of the latent model; says which tokens are none of the base's own.
    """

    def __init__(self, base: nn.Module, config):
        self.base, self.decoder = base, decoder_of(base)
        text = config.get_text_config()
        special = {config.latent_token_id, config.bot_token_id, config.eot_token_id}
        special |= {text.pad_token_id} if isinstance(text.pad_token_id, int) else set()
        size = min(text.vocab_size, config.known_tokens or text.vocab_size)
        ids = [token for token in range(3 if size > 12 else 0, size) if token not in special]
        self.ids = torch.tensor([ids[:: max(1, len(ids) // 7)][:7]], device=base.device)  # (1, 7)
        self.embeds = base.get_input_embeddings()(self.ids)  # (1, 7, H)
        kind = self.embeds.dtype
        self.same, self.alike = (SAME[kind], ALIKE[kind]) if kind in SAME else COARSE

    def form(self) -> BaseForm:
        """Return the form in which this model is exact.

        Raises:
            ValueError: there is none.
        """
        config = self.base.config
        if not builds_causal_model(config) and not getattr(config, "auto_map", None):
            raise self.refuse(
                f"AutoModelForCausalLM builds no model from its {type(config).__name__}, so none could be loaded"
            )
        hidden, logits = self._own()
        if hidden.shape[-1] != self.embeds.shape[-1]:
            sizes = f"{hidden.shape[-1]} numbers, its embeddings {self.embeds.shape[-1]}"
            raise self.refuse(f"its hidden states have {sizes}, so that none can take the place of the other")
        first = self._with_head(_first_guess(self.base), hidden, logits)
        why = "its decoder makes something else of embeddings and positions than of the tokens' ids"
        for form in self._forms(first):
            given = self.embeds.clone()
            if not self._tried(lambda form=form, given=given: self._hidden(form, given, self.ids), hidden, self.same):
                continue
            exact = self._with_cache(form if torch.equal(given, self.embeds) else replace(form, changes_embeds=True))
            if exact is not None:
                exact = self._with_unread(exact, hidden)
                return USUAL if exact == USUAL else exact
            why = "with a cache its hidden states after a latent differ from those of the whole row"
            if not self._tried(lambda form=form: self._behind_padding(form), hidden, self.alike):
                why = "columns of padding before a row change its hidden states"
        raise self.refuse(why)

    def refuse(self, what: str) -> InputError:
        """Return the error that says what this model does."""
        return InputError(f"{self.base.config.model_type} cannot think in latents: {what}; choose another base model")

    def _own(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the last hidden states and logits of the base model's own forward over a row."""
        seen = []
        inner = {self.decoder, self.decoder.get_decoder()}  # some call the part within that does it all
        hooks = [one.register_forward_hook(lambda module, args, output: seen.append(output[0])) for one in inner]
        try:
            logits = self.base(input_ids=self.ids, use_cache=False, return_dict=True).logits
        finally:
            for hook in hooks:
                hook.remove()
        if not seen or not torch.is_tensor(seen[-1]) or seen[-1].shape[:2] != self.ids.shape:
            raise self.refuse(f"its forward does not run {type(self.decoder).__name__} from tokens to hidden states")
        return seen[-1], logits

    def _with_head(self, form: BaseForm, hidden, logits) -> BaseForm:
        if self._tried(lambda: linear_logits(self.base, hidden), logits, self.same):
            return form
        if self._tried(lambda: own_logits(self.base, hidden), logits, self.same):
            return replace(form, own_head=True)
        raise self.refuse("its logits depend on more than its decoder's last hidden states")

    def _forms(self, form: BaseForm) -> Iterator[BaseForm]:
        """Yield the forms to try, the usual one first."""
        padding = getattr(self.decoder.config, "pad_token_id", None)
        offsets = [0, padding + 1] if isinstance(padding, int) else [0]
        names = [name for name, _ in self.decoder.named_modules() if name.rpartition(".")[2] == "embed_positions"]
        for table, ids, first in product((None, *names), (False, True), offsets):
            yield replace(form, reads_ids=ids, first_position=first, position_table=table)

    def _with_cache(self, form: BaseForm) -> BaseForm | None:
        """Find how the decoder continues a cache: a row with two latents, and most of it behind a column of padding."""
        ids, embeds = self.ids, self.embeds  # a b L L c d e

        def anew() -> torch.Tensor:
            filled = embeds.clone()
            for column in (2, 3):
                filled[:, column] = self._hidden(form, filled[:, :column].clone(), ids[:, :column])[:, -1].to(filled.dtype)
            hidden = self._hidden(form, filled.clone(), ids)
            return torch.cat([hidden[:, 2:], hidden[:, 2:-1]], 1)

        def thought(form: BaseForm) -> torch.Tensor:
            behind = [torch.cat([part, torch.cat([part[:, :1], part[:, :-1]], 1)]) for part in (ids, embeds)]
            mask = torch.ones_like(behind[0])
            mask[1, 0] = 0
            latent = torch.zeros_like(mask, dtype=torch.bool)
            latent[0, 2:4] = latent[1, 3:5] = True
            positions = (mask.cumsum(1) - 1).clamp(min=0) + form.first_position
            columns = Columns(behind[1], latent, mask, positions, behind[0] if form.reads_ids else None)
            reading = Reading(self.decoder, lambda hidden: hidden, form, use_cache=True)
            hidden = SequentialRollout().fill(columns, reading).hidden
            return torch.cat([hidden[:1, 2:], hidden[1:, 3:]], 1)

        for one in (form, replace(form, columnwise=True))[: 2 if form.own_cache else 1]:
            if self._tried(lambda one=one: thought(one), anew, self.alike):
                return one
        return None

    def _with_unread(self, form: BaseForm, hidden: torch.Tensor) -> BaseForm:
        with read_from(self.decoder, 3):
            skips = self._tried(lambda: self._hidden(form, self.embeds.clone(), self.ids)[:, -1], hidden[:, -1], self.same)
        return form if skips else replace(form, skips_unread=False)

    def _behind_padding(self, form: BaseForm) -> torch.Tensor:
        """Return the hidden states of the row, behind two columns of padding."""
        ids, embeds = (torch.cat([part[:, :2], part], 1) for part in (self.ids, self.embeds))
        mask = torch.ones_like(ids)
        mask[:, :2] = 0
        return self._hidden(form, embeds, ids, mask)[:, 2:]

    def _hidden(self, form: BaseForm, embeds, ids, mask: torch.Tensor | None = None) -> torch.Tensor:
        ones = torch.ones_like(ids) if mask is None else mask
        positions = (ones.cumsum(1) - 1).clamp(min=0) + form.first_position
        return read(self.decoder, form, embeds, ids, mask, positions, None).last_hidden_state

    def _tried(self, attempt: Callable, expected: torch.Tensor | Callable, tolerance: float) -> bool:
        """Whether an attempt gives the tensor that is expected, or that another way gives."""
        try:
            found = attempt()
            expected = expected() if callable(expected) else expected
        except Exception:  # whatever a model's code raises when it is called in a form it does not know
            return False
        if found.shape != expected.shape:
            return False
        difference = torch.linalg.vector_norm((found - expected).double())
        return bool(difference <= tolerance * torch.linalg.vector_norm(expected.double()))
