"""Prompt templates as data: the texts around a question, a step and an answer."""

from dataclasses import asdict, dataclass, replace

from latent_trainer.errors import InputError, check_choice


@dataclass(frozen=True)
class Template:
    """The texts of one row and where its thought goes.

    A row with latents reads: question, [bot], latent x K, [eot], remaining steps, answer prefix, answer, end of text.

    Args:
        question: holds ``{question}``.
        step: holds ``{step}``; once per written step.
        answer_prefix: text between the reasoning and the answer; strict grading looks for it.
        answer: holds ``{answer}``.
        score_answer_prefix: whether the prefix counts in the loss; if not, it ends the prompt at generation.
        bot, eot: text of the thought tokens.
        markers: whether rows have the two thought tokens at all.
        remaining_steps: "after" ``<|eot|>`` (Coconut), or "inside" the thought, where a latent then stands exactly where its
            step stood and the model writes ``<|eot|>`` itself.
    """

    question: str = "{question}\n"
    step: str = "{step}\n"
    answer_prefix: str = "### "
    answer: str = "{answer}"
    score_answer_prefix: bool = True
    bot: str = "<|bot|>"
    eot: str = "<|eot|>"
    markers: bool = True
    remaining_steps: str = "after"

    def __post_init__(self):
        check_choice("remaining_steps", self.remaining_steps, ("after", "inside"))
        for name in ("question", "step", "answer"):
            if "{" + name + "}" not in getattr(self, name):
                raise InputError(f"template field '{name}' is {getattr(self, name)!r}; it must hold {{{name}}}")

    def to_dict(self) -> dict:
        """Return the fields, as saved in a model's configuration."""
        return asdict(self)


TEMPLATES = {
    "coconut": Template(),
    "plain": Template(question="{question} ", step="{step} ", answer_prefix="= "),
    "r1": Template(
        question="<｜User｜>{question}<｜Assistant｜><think>\n",
        step="{step}\n",
        answer_prefix="\n</think>\n\nThe answer is \\boxed{{",
        answer="{answer}}}",
        score_answer_prefix=False,
        bot="<think>",
        eot="</think>",
        markers=False,
    ),
}


def resolve_template(template: "str | dict | Template", **changes) -> Template:
    """Return a template given by name, by its saved fields, or as it is, with ``changes`` applied.

    Raises:
        ValueError: an unknown name.
    """
    if isinstance(template, str):
        check_choice("template", template, TEMPLATES)
        template = TEMPLATES[template]
    elif isinstance(template, dict):
        template = Template(**template)
    return replace(template, **{name: value for name, value in changes.items() if value is not None})
