"""One seed, one result: what a run draws comes from its seed alone, whatever was drawn before it."""

from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainingArguments, enable_full_determinism, set_seed

from latent_trainer.model.modeling import LatentForCausalLM
from latent_trainer.training.training_args import LatentTrainingArguments


def seed(args: TrainingArguments) -> None:
    """Seed every source of random numbers as the stock trainer does before it makes a model."""
    enable_full_determinism(args.seed) if args.full_determinism else set_seed(args.seed)


def starting_model(model: nn.Module | str, args: LatentTrainingArguments, tokenizer: PreTrainedTokenizerBase) -> nn.Module:
    """Return the model a run starts from; what is added to it (feedback, step decoder, adapters) is drawn from the seed.

    Args:
        model: a latent model, or a base model to wrap or its name.
        args: hold the seed, and the template whose thought tokens a base model gets.
        tokenizer: gets them too.
    """
    if isinstance(model, str) or (isinstance(model, PreTrainedModel) and not isinstance(model, LatentForCausalLM)):
        seed(args)
        template = args.make_template()
        model = LatentForCausalLM.from_base(model, tokenizer=tokenizer, bot_token=template.bot, eot_token=template.eot)
    seed(args)  # again: how much a base draws is its own affair
    return model
