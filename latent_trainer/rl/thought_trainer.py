"""What a latent model adds to a trainer of TRL: latents that a policy draws, among the tokens whose likelihood changes."""

import zlib
from copy import copy, deepcopy

import torch
from datasets import Dataset, IterableDataset
from peft import LoraConfig, PeftModel
from torch import nn
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoTokenizer

from latent_trainer.data.encoding import Encoder
from latent_trainer.data.template import resolve_template
from latent_trainer.errors import InputError
from latent_trainer.methods.policies import check_fit
from latent_trainer.methods.policies.contract import Record
from latent_trainer.model.adapters import fitted, latent_model
from latent_trainer.model.modeling import LatentForCausalLM
from latent_trainer.rl.checked_rewards import checked_reward
from latent_trainer.rl.config import ThoughtConfig
from latent_trainer.rl.rewards import REWARDS, build_rewards
from latent_trainer.rl.stops import open_thoughts, take_length, with_stops
from latent_trainer.rollout.settings import refuse_repeated
from latent_trainer.rollout.thoughts import ReplayedThoughts, SampledThoughts, using

NEVER_ENDS = 64  # completions after which a run in which none has ended is stopped
RECORD = "record_"  # before the names of a record's tensors in a batch


class ThoughtTrainer:
    """A latent model in a trainer of TRL; comes before that trainer.

    A latent that a policy has drawn counts like a token of the completion. After generation the prompt is cut before its
    first latent, so that to TRL the thought is the completion's beginning: its latents are counted, what else stands there
    is not. Where TRL asks for log-probabilities, the drawn thought is replayed in the same forward call, and the latents'
    own stand in their columns. So every loss, clip, ratio, KL term and normaliser of TRL is what it is for tokens. With
    ``policy="deterministic"`` nothing is changed at all.

    Args:
        model: a `LatentForCausalLM`, one in a `PeftModel`, or the name of a saved one.
        reward_funcs: as TRL's, and keys of ``REWARDS``; None takes ``args.rewards``.
        args: the settings.
        train_dataset, eval_dataset: with a column ``prompt`` as TRL's, placeholders in the text; or problems as
            `latent_trainer.load_problems` returns them, of which prompts are made by the model's own template.
        processing_class: the model's tokenizer; by default loaded with it.
        peft_config: trains adapters and the feedback instead of every weight.
        kwargs: as TRL's.

    Raises:
        InputError: a model without latents, a policy that does not fit its feedback or rollout, a data set or rewards that
            do not fit together, fewer prompts than a batch, or a model that differs from its own reference; in one line.
    """

    config_class: type[ThoughtConfig]  # of the settings

    def __init__(
        self,
        model,
        reward_funcs=None,
        args: ThoughtConfig | None = None,
        train_dataset=None,
        eval_dataset=None,
        processing_class=None,
        peft_config=None,
        **kwargs,
    ):
        if args is None:
            raise InputError(f"{type(self).__name__} needs its settings; give args={self.config_class.__name__}(output_dir)")
        self.policy = args.make_policy()
        # of the rows that are scored: what was drawn (B, K, ..), which latents a row has (B, K), and which columns of the
        # completion are given and not drawn (B, C'), those past C' being none of them
        self._thoughts: tuple[Record, torch.Tensor, torch.Tensor] | None = None
        self._generations, self._now, self._seen, self._has_ended = 0, "", 0, args.allow_truncated
        model, processing_class = _loaded(model, processing_class, args)
        latent = latent_model(model)
        if not isinstance(latent, LatentForCausalLM):
            raise InputError(f"{type(self).__name__} trains a latent model, and this is {type(latent).__name__}")
        check_fit(args.policy, self.policy, latent.config.feedback, latent.feedback)
        if self.policy.stochastic or args.stop == "learned":
            refuse_repeated(latent.config.rollout)
        template = resolve_template(latent.config.template or "coconut")
        train_dataset, of_problems = self._prompts(train_dataset)
        if eval_dataset is not None:
            eval_dataset, also = self._prompts(eval_dataset)
            if also != of_problems:
                raise InputError("one of train_dataset and eval_dataset has prompts and the other problems; give one kind")
        self.encoder = Encoder(processing_class, template) if of_problems else None
        if args.num_latents is not None:
            if not of_problems:
                raise InputError(
                    f"num_latents={args.num_latents} has no effect: every prompt of the data set has its own; leave it out"
                )
            take_length(latent, args.num_latents, opens=latent.config.open_thought)  # saved: what is graded thinks as long
        self.num_latents = latent.config.num_latents
        if args.stop != "fixed":
            first = train_dataset if of_problems else None
            self.num_latents = open_thoughts(model, latent, args, processing_class, template, first)
        if of_problems and self.policy.stochastic and self.num_latents == 0:
            raise InputError(f"policy={args.policy} draws latents, and prompts get none; give num_latents")
        kwargs["reward_funcs"] = self._rewards(reward_funcs, args, processing_class, template)
        if peft_config is not None:
            peft_config = copy(peft_config)
            if isinstance(peft_config, LoraConfig):  # TRL reads the head's own weight; the model has learnt these rows
                peft_config.trainable_token_indices = peft_config.trainable_token_indices or {}
            peft_config = fitted(latent, peft_config)
            if isinstance(peft_config, LoraConfig):
                peft_config.trainable_token_indices = peft_config.trainable_token_indices or None
        if args.beta and peft_config is None and not isinstance(model, PeftModel) and not latent.config.name_or_path:
            raise InputError(
                f"beta={args.beta} compares with the model as it was saved, and this one was not loaded from anywhere; save "
                "it and give its folder, set beta=0, or give a peft_config"
            )
        super().__init__(
            model,
            args=args,
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
            processing_class=processing_class,
            peft_config=peft_config,
            **kwargs,
        )
        if self.policy.stochastic and (getattr(self, "tools", None) or getattr(self, "rollout_func", None) is not None):
            raise InputError(f"policy={args.policy} draws latents in TRL's own generation; leave tools and rollout_func out")
        if args.disable_dropout:
            _switch_off(latent)
        batch = args.generation_batch_size // args.num_generations
        if isinstance(train_dataset, Dataset) and len(train_dataset) < batch:  # of which TRL trains on none
            raise InputError(
                f"train_dataset has {len(train_dataset)} prompts, and every batch takes {batch} with {args.num_generations} "
                "answers each; give more prompts, or lower per_device_train_batch_size or steps_per_generation"
            )
        if self.generation_config.suppress_tokens is not None:  # given, in place of the model's own
            only_in_prompts = {latent.config.latent_token_id, latent.config.bot_token_id}
            self.generation_config.suppress_tokens = sorted({*self.generation_config.suppress_tokens, *only_in_prompts})
        if args.stop != "fixed":
            self.generation_config.max_new_tokens += self.num_latents + 1  # the thought and its end
        if args.stop == "learned" and self.ref_model is not None:  # TRL has loaded it from where the model came from
            self._latent(self.ref_model).stop_head = deepcopy(latent.stop_head).requires_grad_(False)
        if self.ref_model is not None and not (self.is_deepspeed_enabled or self.is_fsdp_enabled):
            own, others = (one.state_dict() for one in (latent, self._latent(self.ref_model)))
            same = own.keys() == others.keys() and all(torch.equal(own[name], others[name].to(own[name])) for name in own)
            if not same:
                raise InputError(
                    f"beta={args.beta} compares with the model as it was saved in {latent.config.name_or_path}, and the one "
                    "given has other weights; save it and give its folder, or set beta=0"
                )

    @staticmethod
    def _prompts(dataset) -> tuple:
        """Return a data set with a column ``prompt``, and whether it was one of problems."""
        if isinstance(dataset, dict):
            pairs = {name: ThoughtTrainer._prompts(one) for name, one in dataset.items()}
            kinds = {of_problems for _, of_problems in pairs.values()}
            if len(kinds) > 1:
                raise InputError("some data sets have prompts and others problems; give one kind")
            return {name: one for name, (one, _) in pairs.items()}, kinds.pop()
        names = dataset.column_names if isinstance(dataset, Dataset | IterableDataset) else None
        if names is None or "prompt" in names:
            return dataset, False
        if "question" not in names:
            raise InputError(f"the data set has the columns {', '.join(names)}; it needs prompt, or question and answer")
        return dataset.map(lambda row: {"prompt": row["question"]}), True

    def _rewards(self, rewards, args: ThoughtConfig, tokenizer, template) -> list:
        given = args.rewards if rewards is None else rewards if isinstance(rewards, list) else [rewards]
        named = [one for one in given if isinstance(one, str) and (rewards is None or one in REWARDS)]
        built = iter(build_rewards(named, args.reward_options, tokenizer, template) if named or rewards is None else [])
        return [checked_reward(next(built) if isinstance(one, str) and one in named else one) for one in given]

    def _tokenize_prompts(self, prompts: list) -> tuple:
        """Return the ids of prompts; of questions as evaluation writes them."""
        number = self.num_latents if self.args.stop == "fixed" else None
        if self.encoder is None:
            ids, *others = super()._tokenize_prompts(prompts)  # type: ignore[misc]  # TRL's
        else:
            ids, *others = [self.encoder.prompt(question, number) for question in prompts], None, {}
        bot = self._latent(self.model).config.bot_token_id
        if number is None and any(row[-1] != bot for row in ids):
            token = self.processing_class.convert_ids_to_tokens(bot)
            raise InputError(f"stop={self.args.stop} ends thoughts that {token} has opened; end every prompt with {token}")
        return ids, *others

    def _generate_single_turn(self, prompt_ids, *args, **kwargs):
        """Generate with drawn thoughts, and remember them.

        Raises:
            InputError: no latent, or several rows to a prompt, of which nobody knows whose thought the answer has.
        """
        self._thoughts = None
        if not self.policy.stochastic:
            return self._within(super()._generate_single_turn(prompt_ids, *args, **kwargs))
        with using(self._latent(self.model), SampledThoughts(self.policy, self._seeds(len(prompt_ids)))) as thoughts:
            generated = self._within(super()._generate_single_turn(prompt_ids, *args, **kwargs))
        record, counted = thoughts.record()
        if len(counted) != len(prompt_ids):
            raise InputError(
                f"policy={self.args.policy} draws a thought for every prompt, and generation had {len(counted)} rows for "
                f"{len(prompt_ids)} prompts; leave num_beams and num_return_sequences out of generation_kwargs"
            )
        if self.args.stop == "fixed" and not counted.any():
            raise InputError(
                f"policy={self.args.policy} draws latents, and no prompt of the batch has one; put <|latent|> into them"
            )
        self._thoughts = (record, counted, torch.zeros_like(counted[:, :0]))
        return generated

    def _within(self, generated):
        """Return what TRL has generated, with no more written after a thought than may be: a short one leaves room."""
        if self.args.stop == "fixed":
            return generated
        ids, *others = generated if isinstance(generated, tuple) else (generated,)  # RLOO has the ids alone
        latent, most = (
            self._latent(self.model).config.latent_token_id,
            self.generation_config.max_new_tokens - self.num_latents,
        )
        ids = [row[: _thought(row, latent) + most] for row in ids]
        return (ids, *others) if isinstance(generated, tuple) else ids

    def _seeds(self, rows: int) -> list[int]:
        """Return the seeds of this process's rows: a row's is the same however many processes share a batch."""
        now = f"{self.args.seed}/{self.model.training}/{self.state.global_step}"
        self._generations = self._generations + 1 if now == self._now else 1  # of this step: a run that resumes counts alike
        self._now, batch = now, f"{now}/{self._generations}"
        first = self.accelerator.process_index * rows
        return [zlib.crc32(f"{batch}/{first + row}".encode()) for row in range(rows)]

    def _generate(self, prompts: list):
        """Generate, and make the thoughts that were drawn a part of the completions."""
        prompt_ids, completion_ids, *rest = super()._generate(prompts)  # type: ignore[misc]  # TRL's
        self._refuse_endless(completion_ids)
        if self.args.stop != "fixed":
            return prompt_ids, completion_ids, *self._with_mask(rest, self._read_open(completion_ids))
        self._written = completion_ids
        places = [self._places(ids) for ids in prompt_ids]
        self._latents = [sum(row) for row in places]
        if self._thoughts is None:
            return prompt_ids, completion_ids, *rest
        starts = [row.index(True) if any(row) else len(row) for row in places]
        thoughts = [torch.tensor(row[start:], dtype=torch.bool) for row, start in zip(places, starts, strict=True)]
        given = pad_sequence([~thought for thought in thoughts], batch_first=True)  # (B, C'), False past a row's thought
        self._thoughts = (*self._thoughts[:2], given.to(self._thoughts[1].device))
        mask = [thought.int().tolist() + [1] * len(ids) for thought, ids in zip(thoughts, completion_ids, strict=True)]
        completion_ids = [ids[at:] + own for ids, at, own in zip(prompt_ids, starts, completion_ids, strict=True)]
        prompt_ids = [ids[:at] for ids, at in zip(prompt_ids, starts, strict=True)]
        return prompt_ids, completion_ids, *self._with_mask(rest, mask)

    def _read_open(self, completion_ids: list[list[int]]) -> list[list[int]]:
        """Take note of the thoughts that completions begin with; return which tokens count."""
        latent, learned = self._latent(self.model).config.latent_token_id, self.args.stop == "learned"
        self._latents = [_thought(ids, latent) for ids in completion_ids]
        self._written = [ids[number + 1 :] for ids, number in zip(completion_ids, self._latents, strict=True)]
        decided = learned or self.policy.stochastic
        ends = [learned and number < self.num_latents for number in self._latents]  # the last latent ends a thought anyway
        thoughts = [torch.tensor([decided] * number + [end]) for number, end in zip(self._latents, ends, strict=True)]
        device = self.accelerator.device
        numbers = torch.tensor(self._latents, device=device)
        counted = torch.arange(int(numbers.max()), device=device) < numbers.unsqueeze(1)  # (B, K)
        given = pad_sequence([~thought for thought in thoughts], batch_first=True).to(device)  # (B, K + 1)
        self._thoughts = ({} if self._thoughts is None else self._thoughts[0], counted, given)
        return [thought.int().tolist() + [1] * len(ids) for thought, ids in zip(thoughts, self._written, strict=True)]

    def _with_mask(self, rest: list, mask: list[list[int]]) -> list:
        """Return the rest of what TRL's `_generate` returns, saying which tokens of each completion count."""
        raise NotImplementedError(f"{type(self).__name__} has no method _with_mask")

    def _places(self, prompt_ids: list[int]) -> list[bool]:
        """Return which tokens of a prompt are latents."""
        return self._latent(self.model).runner.latent_places(torch.tensor([prompt_ids]))[0].tolist()

    def _refuse_endless(self, completion_ids: list[list[int]]) -> None:
        """Raise an `InputError` where none of a run's first completions has ended by itself."""
        if self._has_ended:
            return
        ends = {*self.eos_token_ids, self.processing_class.pad_token_id}
        ended = any(ids and ids[-1] in ends for ids in completion_ids)
        flags = torch.tensor([ended, len(completion_ids)], device=self.accelerator.device).unsqueeze(0)
        ended, seen = self.accelerator.gather(flags).sum(0).tolist()
        self._seen += seen
        self._has_ended = bool(ended)
        if not ended and self._seen >= NEVER_ENDS:
            raise InputError(
                f"none of the first {self._seen} completions has ended within max_completion_length="
                f"{self.max_completion_length}, so that nothing learns to end; raise it, check the tokenizer's eos_token, "
                "or set allow_truncated=True"
            )

    def _calculate_rewards(self, inputs, prompts, completions, completion_ids_list):
        """Reward what was written, without the thought before it; each row says how many latents it has."""
        group = self.num_generations if self.model.training else self.num_generations_eval
        rows = zip(inputs, self._latents, strict=True)
        inputs = [{**row, "num_latents": number, "group_size": group} for row, number in rows]
        return super()._calculate_rewards(inputs, prompts, completions, self._written)

    def _generate_and_score_completions(self, inputs):
        """Return a batch with the record of its thoughts, rows in rows, so that TRL shuffles and splits it with the rest."""
        batch = super()._generate_and_score_completions(inputs)
        if self._thoughts is not None:
            record, counted, given = self._thoughts
            record = {**record, "counted": counted, "given": given}
            batch |= {f"{RECORD}{name}": value for name, value in record.items()}
        return batch

    def _compute_loss(self, model, inputs):
        """Return TRL's loss, with this batch's thoughts replayed in its forward call."""
        record = {name.removeprefix(RECORD): value for name, value in inputs.items() if name.startswith(RECORD)}
        self._thoughts = (record, record.pop("counted"), record.pop("given")) if record else None
        return super()._compute_loss(model, inputs)

    def _get_per_token_logps_and_entropies(
        self, model, input_ids, attention_mask, logits_to_keep, batch_size=None, **kwargs
    ):
        """Return TRL's log-probabilities (B, C), with those of drawn latents in their columns, and entropies likewise."""
        common = (logits_to_keep, batch_size)
        if self._thoughts is None:
            return super()._get_per_token_logps_and_entropies(model, input_ids, attention_mask, *common, **kwargs)
        record, counted, given = self._thoughts
        parts = []
        for start in range(0, len(input_ids), batch_size or len(input_ids)):
            rows = slice(start, start + (batch_size or len(input_ids)))
            own = {name: value[rows] for name, value in record.items()}
            with using(self._latent(model), ReplayedThoughts(self.policy, own, counted[rows])) as thoughts:
                tokens, entropies, loss = super()._get_per_token_logps_and_entropies(
                    model, input_ids[rows], attention_mask[rows], *common, **kwargs
                )
            thought = thoughts.places[:, -logits_to_keep:]  # (B, C)
            latents = thoughts.log_probs[counted[rows]].to(tokens.dtype)
            tokens = tokens.index_put(thought.nonzero(as_tuple=True), latents)
            if self.args.stop == "learned":
                scores = thoughts.stop_scores[:, -logits_to_keep - 1 : -1]  # (B, C), each of the column before
                tokens = with_stops(tokens, scores, counted[rows].sum(1), self.temperature)
            within = torch.nn.functional.pad(given[rows], (0, logits_to_keep - given.shape[1]))  # (B, C)
            if entropies is not None:
                words = attention_mask[rows, -logits_to_keep:].bool() & ~within & ~thought
                entropies = torch.where(thought, _mean(entropies[words]), entropies)  # TRL logs one mean over all columns
            parts.append((tokens.masked_fill(within, 0.0), entropies, loss))
        tokens, entropies, losses = zip(*parts, strict=True)
        return (
            torch.cat(tokens),
            torch.cat(entropies) if entropies[0] is not None else None,
            torch.stack(losses).mean() if losses[0] is not None else None,
        )

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        """Save as the stock trainer does; an adapter with the settings of the model it was trained on."""
        super()._save(output_dir, state_dict)
        if isinstance(self.model, PeftModel):
            latent = self._latent(self.model)
            for settings in (latent.config, latent.generation_config):
                settings.save_pretrained(output_dir or self.args.output_dir)

    def _latent(self, model) -> LatentForCausalLM:
        """Return the latent model inside whatever accelerate and PEFT have wrapped it in."""
        return latent_model(self.accelerator.unwrap_model(model))


def _switch_off(model: nn.Module) -> None:
    """Switch off the dropout of attention, of layers and the like that modules hold as a number: TRL (1.16) leaves it on."""
    for module in model.modules():
        for name, value in vars(module).items():
            if isinstance(value, float) and ("drop" in name or "jitter" in name):
                setattr(module, name, 0.0)


def _mean(values: torch.Tensor) -> torch.Tensor:
    """Return the mean of values, 0 of none."""
    return values.sum() / max(len(values), 1)


def _thought(ids: list[int], latent: int) -> int:
    """Return how many latents a completion begins with."""
    return next(at for at, token in enumerate(ids) if token != latent)


def _loaded(model, tokenizer, args: ThoughtConfig) -> tuple:
    """Return the model and its tokenizer, loaded where only a name is given."""
    name = model if isinstance(model, str) else latent_model(model).config.name_or_path
    if isinstance(model, str):
        model = LatentForCausalLM.from_pretrained(model, **{"dtype": "float32", **(args.model_init_kwargs or {})})  # as TRL
    if tokenizer is None:
        if not name:
            raise InputError(
                "the model was not loaded from anywhere, so neither can be its tokenizer; give processing_class"
            )
        tokenizer = AutoTokenizer.from_pretrained(name)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token  # as TRL does
    return model, tokenizer
