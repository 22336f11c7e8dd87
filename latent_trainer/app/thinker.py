"""One conversation at a time: the next answer, and what the latents of its thought are near to and would write."""

from dataclasses import dataclass

import torch
from transformers import LogitsProcessorList, PreTrainedTokenizerBase

from latent_trainer.analysis.explain import explain_latents
from latent_trainer.analysis.lens import lens_logits, nearest_tokens
from latent_trainer.data import Encoder
from latent_trainer.data.lengths import Room
from latent_trainer.errors import InputError
from latent_trainer.evaluation.generation import new_tokens
from latent_trainer.evaluation.mode import evaluating
from latent_trainer.hub.chat import set_chat_template
from latent_trainer.model.context import context_length
from latent_trainer.model.modeling import LatentForCausalLM
from latent_trainer.model.thinking import ThinkingProcessor

TOP = 5  # tokens shown of a latent
Token = tuple[str, float]  # as the tokenizer writes it, with its cosine or its probability


@dataclass
class Reading:
    """An answer and the thought before it.

    Args:
        answer: what was written.
        latents: (K, H) embeddings that stood at the latents of the last thought.
        nearest: K lists of tokens whose embeddings have the highest cosine with the latent.
        lens: L + 1 lists, the embeddings' first, of K tokens: the likeliest one at the column a latent is thought from.
        steps: what the step decoder reads in each group of latents; empty where there is none.
    """

    answer: str
    latents: torch.Tensor
    nearest: list[list[Token]]
    lens: list[list[Token]]
    steps: list[str]


class Thinker:
    """A model that answers conversations, with as many latents as is asked for each time.

    Args:
        model: a latent model; set to evaluation.
        tokenizer: the tokenizer saved with it; its chat template is replaced by the one that places the latents.

    Raises:
        InputError: its config names no prompt template.
    """

    def __init__(self, model: LatentForCausalLM, tokenizer: PreTrainedTokenizerBase):
        if model.config.template is None:
            raise InputError("the model's config.json has no template, so no chat can be written; set model.config.template")
        self.model, self.tokenizer = model.eval(), tokenizer
        self.encoder = Encoder(tokenizer, model.config.template)
        self.opens = bool(model.config.open_thought)
        self.most = model.config.num_latents

    def prompt(
        self, messages: list[dict[str, str]], num_latents: int | None = None, max_new_tokens: int | None = None
    ) -> list[int]:
        """Return the tokens of a conversation up to where its next answer begins.

        Args:
            messages: as for ``apply_chat_template``; user and assistant take turns, the user's is the last one.
            num_latents: K of every thought; by default as trained.
            max_new_tokens: tokens that must still find room; by default as trained.

        Raises:
            InputError: what the chat template refuses, or a conversation that is longer than the model's context.
        """
        number = self.most if num_latents is None else num_latents
        set_chat_template(self.tokenizer, self.encoder.template.to_dict(), None if self.opens else number)
        try:
            ids = self.tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)["input_ids"]
        except Exception as error:  # the template's own words; jinja2 has several kinds of them
            if type(error).__module__.split(".")[0] != "jinja2":
                raise
            raise InputError(str(error)) from None
        written = max_new_tokens or new_tokens(self.model)
        room = Room(self.encoder, context_length(self.model.config), number, written)
        room.refuse_long([("the conversation", len(ids) + (number if self.opens else 0))])
        return ids

    @torch.no_grad()
    def answer(
        self,
        messages: list[dict[str, str]],
        num_latents: int | None = None,
        max_new_tokens: int | None = None,
        latents: torch.Tensor | None = None,
        streamer=None,
    ) -> Reading:
        """Answer the last message of a conversation, greedily.

        Args:
            messages: as for `prompt`.
            num_latents: K; the most it may think, where the model ends its thought itself; by default as trained.
            max_new_tokens: tokens written at most; by default as trained.
            latents: (K, H) that stand in for the thought of a conversation of one message.
            streamer: as for ``generate``.

        Raises:
            InputError: as `prompt`, or latents given to a model that ends its thought itself, or for several messages.
        """
        number = self.most if num_latents is None else num_latents
        if latents is not None and (self.opens or len(messages) != 1):
            raise InputError(
                "latents stand in for the thought of one message, of a model that does not end its thought itself; "
                "leave latents out"
            )
        written = max_new_tokens or new_tokens(self.model)
        ids = torch.tensor([self.prompt(messages, number, written)], device=self.model.device)  # (1, T)
        options: dict = {"max_new_tokens": written, "do_sample": False, "streamer": streamer}
        if self.opens:
            options["max_new_tokens"] += number + 1
            options["logits_processor"] = LogitsProcessorList([ThinkingProcessor(self.model.config, number)])
        given = {} if latents is None else {"latents": latents[None].to(self.model.device, self.model.dtype)}  # (1, K, H)
        with evaluating(self.model):
            mask = torch.ones_like(ids)
            sequence = self.model.generate(input_ids=ids, attention_mask=mask, **given, **options)  # (1, T + new)
            new = sequence[0, ids.shape[1] :].tolist()
            eot = self.model.config.eot_token_id
            start = new.index(eot) + 1 if self.opens and eot in new else 0
            answer = self.tokenizer.decode(new[start : start + written], skip_special_tokens=True).strip()
            return Reading(answer, *self._read(sequence, messages, **given))

    def _read(self, sequence: torch.Tensor, messages: list, latents: torch.Tensor | None = None):
        """Return what the latents of the last thought in a sequence (1, T) hold: latents, nearest, lens and steps."""
        mask = torch.ones_like(sequence)
        places = (sequence[0] == self.model.config.latent_token_id).nonzero().flatten()
        thoughts = sum(message["role"] == "user" for message in messages)
        if not self.opens:
            places = places[len(places) - len(places) // thoughts :]  # (K,): every thought has as many
        else:
            bot = (sequence[0] == self.model.config.bot_token_id).nonzero().flatten()
            places = places[places > bot[-1]] if len(bot) else places
        if not len(places):
            return sequence.new_zeros(0, self.model.config.hidden_size).to(self.model.dtype), [], [], []
        output = self.model.run(sequence, mask, latents=latents, output_hidden_states=True)
        own = output.latents[0, places]  # (K, H)
        near = nearest_tokens(self.model, sequence, mask, TOP, latents=output.latents)[0][-len(places) :]
        lens = []
        for layer, hidden in enumerate(output.hidden_states):
            chances, tokens = lens_logits(self.model, hidden[0, places - 1], layer).float().softmax(-1).max(-1)  # (K,)
            lens.append(list(zip(self._words(tokens.tolist()), chances.tolist(), strict=True)))
        steps: list[str] = []
        if self.model.step_decoder is not None:
            steps = explain_latents(self.model, self.tokenizer, sequence, mask, latents=output.latents)[0]
            steps = steps[len(steps) - len(places) // self.model.config.step_decoder_group :]
        words = [list(zip(self._words([token for token, _ in row]), [c for _, c in row], strict=True)) for row in near]
        return own.cpu(), words, lens, steps

    def _words(self, tokens: list[int]) -> list[str]:
        return [self.tokenizer.decode([token]) for token in tokens]
