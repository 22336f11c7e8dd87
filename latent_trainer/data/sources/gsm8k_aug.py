"""GSM8K-Aug: 385k augmented GSM8K problems with equations or sentences as steps, what CODI, PCCoT and SIM-CoT train on.

From the Hub, or from files in any of the three published forms: iCoT's lines ``question||<<a=b>> <<c=d>> #### answer``,
Coconut's JSON of ``question``, ``steps``, ``answer``, and the columns ``question``, ``cot``, ``answer`` of CODI's
``zen-E/GSM8k-Aug``, whose training code cuts ``cot`` at blanks, and at full stops where it is sentences.

Source: Deng et al. 2023, "Implicit Chain of Thought Reasoning via Knowledge Distillation".
"""

import re
from dataclasses import replace

from latent_trainer.data import values
from latent_trainer.data.files import Place
from latent_trainer.data.forms import check_form
from latent_trainer.data.problem import Problem
from latent_trainer.data.published import loader
from latent_trainer.data.reasoning import cut, is_equations
from latent_trainer.data.sources import jsonl
from latent_trainer.errors import InputError

BAR = re.compile(r"\|(?=\|)")


def problem(row: dict, place: Place, name: str = "gsm8k_aug") -> Problem:
    """Return a line of text, or a row of question, steps and answer, as a problem.

    Raises:
        InputError: the line cannot be told apart, or a field is wrong.
    """
    if isinstance(row.get("answer"), str):  # some of CODI's rows keep the mark in front
        row = row | {"answer": row["answer"].strip().removeprefix("####")}
    check_form(row, name, place)
    if "text" in row:
        question, steps, answer = _line(values.text(row, "text", place), place)
        answer = values.answer({"answer": answer}, "answer", place)
        return Problem(question, steps, values.without_thousands(answer), place.id, place=str(place))
    if isinstance(row.get("steps"), list):  # a published row may have an empty one
        row = row | {"steps": [step for step in row["steps"] if step != ""]}
    one = jsonl.read_fields(row, place)
    return replace(one, answer=values.without_thousands(one.answer))


def _line(line: str, place: Place) -> tuple[str, tuple[str, ...], str]:
    """Return question, steps and answer of a line."""
    if line.count("####") > 1:
        raise InputError(f"{place}: '####' appears twice; a line is one problem")
    problem, mark, answer = line.partition("####")
    cuts = [bar.start() for bar in BAR.finditer(problem)]
    if not cuts or not mark or not answer.strip() or not problem[: cuts[-1]].strip():
        raise InputError(f"{place}: expected 'question||<<a=b>> <<c=d>> #### answer'")
    if len(cuts) > 1:
        cuts = _separators(problem, cuts)
    if len(cuts) != 1:
        raise InputError(
            f"{place}: '||' appears more than once, so the end of the question is unclear; "
            "write the row as JSON with question, steps and answer"
        )
    question, written = problem[: cuts[0]].strip(), problem[cuts[0] + 2 :]
    if written.count("<<") != written.count(">>"):
        raise InputError(f"{place}: an equation '<<...>>' is not closed")
    return question, cut(written), answer


def _separators(problem: str, cuts: list[int]) -> list[int]:
    """Return which of several bars end the question: those before nothing but equations, else the last one after a stop.

    A bar inside the question, |x||y|, is followed by more than equations. Before written sentences only the last bar can be
    the one, and is where it alone comes after the end of a sentence.
    """
    before_equations = [at for at in cuts if "<<" in problem[at:] and is_equations(problem[at + 2 :])]
    if before_equations:
        return before_equations
    after_stop = [at for at in cuts if problem[:at].rstrip().endswith((".", "?", "!"))]
    return after_stop if after_stop == cuts[-1:] else cuts


load = loader("gsm8k_aug", problem)
