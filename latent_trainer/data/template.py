"""Prompt templates as data: the texts around a question, a step and an answer."""

import re
from dataclasses import asdict, dataclass, replace
from functools import cached_property

from jinja2 import TemplateError

from latent_trainer.data.problem import Problem
from latent_trainer.data.strict import AnswerForm
from latent_trainer.errors import InputError, check_choice
from latent_trainer.registry import Registry

NOT_FINITE = re.compile(r"[-+]?(?:nan|inf)", re.IGNORECASE)  # what Python makes of a number that is none
ONLY_MARKUP = re.compile(r"(?:\\(?:boxed|text)\s*\{\s*\}|\\[()\[\]]|[$*`_#.\s])+")


@dataclass(frozen=True)
class Template:
    """The texts of one row and where its thought goes.

    A row with latents reads: question, speed, [bot], latent x K, [eot], remaining steps, answer prefix, answer, end of text.

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
        speed: text that tells a prompt how many tokens one latent stands for; holds ``{compression}``, or is empty.
        compression: the number that prompts are told at generation.
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
    speed: str = ""
    compression: int | None = None

    def __post_init__(self):
        check_choice("remaining_steps", self.remaining_steps, ("after", "inside"))
        for name in ("question", "step", "answer"):
            if "{" + name + "}" not in getattr(self, name):
                raise InputError(f"template field '{name}' is {getattr(self, name)!r}; it must hold {{{name}}}")
        if self.speed and "{compression}" not in self.speed:
            raise InputError(f"template field 'speed' is {self.speed!r}; it must hold {{compression}}")
        if self.compression is not None and (self.compression < 1 or not self.speed):
            why = (
                "must be at least 1"
                if self.speed
                else "has no effect: this template's prompts are told none (speed is empty)"
            )
            raise InputError(f"compression={self.compression} {why}")
        holds: dict[str, dict] = {"speed": {"compression": 1}, "answer_prefix": {}}
        for name in ("question", "step", "answer_prefix", "answer", "speed"):
            try:
                getattr(self, name).format(**holds.get(name, {name: ""}))
            except (LookupError, ValueError):
                raise InputError(
                    f"template field '{name}' is {getattr(self, name)!r}; write a brace as {{{{ or }}}}"
                ) from None
        if self.answer.format(answer="\0").count("\0") > 1:
            raise InputError(f"template field 'answer' is {self.answer!r}; it must hold {{answer}} once")

    @cached_property
    def form(self) -> AnswerForm:
        """What stands around the answer in what a model writes."""
        prefix = self.answer_prefix.format()
        opening, _, closing = self.answer.format(answer="\0").partition("\0")
        gap = self.step.format(step="\0").rpartition("\0")[2] + prefix[: len(prefix) - len(prefix.lstrip())]
        space = gap[len(gap.rstrip()) :]
        place = "line" if "\n" in space else "word" if space else "anywhere"
        return AnswerForm(prefix, opening, closing, not self.score_answer_prefix, place, self.eot)

    def written(self, problem: Problem, steps: bool) -> str:
        """Return what a model writes that answers a problem as its reference does, with or without its steps."""
        reasoning = "".join(self.step.format(step=step) for step in problem.steps) if steps else ""
        prefix = self.answer_prefix.format() if self.score_answer_prefix else ""
        return reasoning + prefix + self.answer.format(answer=problem.answer)

    def behind_steps(self, text: str, problem: Problem) -> str:
        """Return what a model writes behind a problem's own steps or the last of them; all of it where it writes others."""
        written = [self.step.format(step=step) for step in problem.steps] if self.score_answer_prefix else []
        for first in range(len(written)):
            if text.startswith(reasoning := "".join(written[first:])):
                return text[len(reasoning) :]
        return text

    def fault(self, problem: Problem, steps: bool = True) -> str | None:
        """Return why no answer to a problem could be graded right under this template, None where one can.

        Args:
            problem: its answer is the reference.
            steps: whether the model learns to write the steps, too.
        """
        answer = problem.answer.strip()
        if len(answer.splitlines()) > 1:
            return f"the answer {_shown(answer)} has a line break; answers are one line"
        if NOT_FINITE.fullmatch(answer):
            return f"the answer {_shown(answer)} is no number; write infinity as \\infty, and leave out what has no answer"
        if ONLY_MARKUP.fullmatch(answer):
            return f"the answer {_shown(answer)} is nothing but markup; give it a text"
        found = self.form.find(self.written(problem, steps=False))
        if found != answer:
            own = self.written(replace(problem, answer="..."), steps=False)
            return (
                f"the answer {_shown(answer)}, written as {own!r}, is read as {_shown(found)} and would be graded wrong; "
                "give the answer alone, or another answer_prefix in the template"
            )
        if steps and self.score_answer_prefix and problem.steps:
            found = self.form.find(self.written(problem, steps=True))
            if found != answer:
                prefix = self.answer_prefix.format()
                why = f"a step holds the answer prefix {prefix!r}" if prefix.strip() else "the template has no answer prefix"
                return (
                    f"{why}, so that behind its steps the answer {_shown(answer)} is read as {_shown(found)} and would be "
                    "graded wrong; give the template another answer_prefix"
                )
        return None

    def check(self, problem: Problem, steps: bool = True) -> None:
        """Raise a one-line `InputError` that names the place of a problem no answer to which could be graded right."""
        if fault := self.fault(problem, steps):
            raise InputError(f"{problem.named}: {fault}")

    def to_dict(self) -> dict:
        """Return the fields, as saved in a model's configuration."""
        return asdict(self)


def _shown(text: str | None) -> str:
    """Return a text as a message shows it, cut where it is long."""
    return repr(text if text is None or len(text) <= 60 else text[:57] + "...")


MARK = "\ue000Question\ue000"  # stands for a question where no template has such a text of its own
CHAT = "chat"  # the form of a model's own chat template


def take_template(name: str, entry) -> Template:
    """Return a template that a plug-in registers, or that a function without parameters returns."""
    entry = entry() if callable(entry) and not isinstance(entry, type) else entry
    if not isinstance(entry, Template):
        raise InputError(f"template '{name}' must be a Template, or a function that returns one; got {entry!r}")
    if name == CHAT:
        raise InputError(f"template '{CHAT}' is the model's own chat template; give another name")
    return entry


OWN = {
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
TEMPLATES = Registry("template", OWN, take_template)


def resolve_template(template: "str | dict | Template", **changes) -> Template:
    """Return a template given by name, by its saved fields, or as it is, with ``changes`` applied.

    Raises:
        ValueError: an unknown name.
    """
    if isinstance(template, str):
        check_choice("template", template, TEMPLATES)
        found = TEMPLATES[template]
    else:
        found = Template(**template) if isinstance(template, dict) else template
    return replace(found, **{name: value for name, value in changes.items() if value is not None})


def chat_form(tokenizer) -> Template:
    """Return the template in which a tokenizer's own chat template asks a question and begins an answer.

    Raises:
        InputError: the tokenizer has no chat template, or one that refuses a single question, or does not write it once and
            as it is.
    """
    if not tokenizer.chat_template:
        raise InputError(f"template={CHAT} is the model's own chat template, and its tokenizer has none; name another")
    why = "does not write a question once and as it is"
    for content in (MARK, [{"type": "text", "text": MARK}]):  # templates of models that see read lists of parts
        chat = [{"role": "user", "content": content}]
        try:
            text = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        except (TemplateError, TypeError, ValueError) as error:
            why = f"refuses a question alone: {' '.join(str(error).split())[:200]}"
            continue
        if text.count(MARK) == 1:
            break
    else:
        raise InputError(f"the model's own chat template {why}; name another template, such as template=plain")
    if tokenizer.bos_token and tokenizer("").input_ids[:1] == [tokenizer.bos_token_id]:
        text = text.removeprefix(tokenizer.bos_token)  # a prompt gets it anyway, and has it once
    before, after = (part.replace("{", "{{").replace("}", "}}") for part in text.split(MARK))
    return Template(question=f"{before}{{question}}{after}", answer_prefix="", markers=False)
