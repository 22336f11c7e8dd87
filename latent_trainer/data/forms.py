"""The forms published rows have: which fields tell a form, and which data set reads it."""

import re
from dataclasses import dataclass

from transformers.utils import logging

from latent_trainer.errors import InputError, check_choice, nearest
from latent_trainer.options import parse_json

logger = logging.get_logger(__name__)


@dataclass(frozen=True)
class Form:
    """What the rows of a data set look like.

    Args:
        needs: fields that every row has.
        takes: fields that are read where a row has them.
        mark: a field and a text that stands in it, where the fields alone do not tell the form.
        also: other spellings of the same form.
        by_name: whether its fields are so common that rows are never taken for it unless its data set is named.
    """

    needs: tuple[str, ...]
    takes: tuple[str, ...] = ()
    mark: tuple[str, str] | None = None
    also: tuple["Form", ...] = ()
    by_name: bool = False

    @property
    def fields(self) -> tuple[str, ...]:
        """All that is read."""
        return self.needs + self.takes + tuple(name for form in self.also for name in form.fields)

    def has(self, row: dict) -> bool:
        """Return whether a row is of this form."""
        if any(form.has(row) for form in self.also):
            return True
        if not all(map(row.__contains__, self.needs)):
            return False
        return self.mark is None or self.mark[1] in str(row[self.mark[0]])


OWN = Form(("question", "answer"), ("steps", "cot", "id", "family", "difficulty", "check"))
FORMS = {  # the first that a row has is its own
    "gsm8k": Form(("question", "answer"), mark=("answer", "####")),
    "aqua": Form(("question", "options", "correct"), ("rationale", "id")),
    "jsonl": OWN,
    "math": Form(("problem", "solution"), ("answer", "level", "type", "subject", "unique_id")),
    "svamp": Form(("Body", "Question", "Answer"), ("Equation", "ID", "Type")),
    "multiarith": Form(("question", "final_ans"), also=(Form(("sQuestion", "lSolutions")),)),
    "aime": Form(
        ("problem", "answer"), ("solution", "id"), also=(Form(("Problem", "Answer"), ("Solution", "ID")),), by_name=True
    ),
    "gsm_hard": Form(("input", "target"), by_name=True),
    "prontoqa": Form(("test_example",)),
    "textbook": Form(("exercise", "text", "type"), ("answer", "steps", "family")),
    "gsm8k_aug": Form(("text",), mark=("text", "||")),
}
SAME_ROWS = {  # what else a data set reads
    "aime": ("math",),
    "gsm8k_aug": ("jsonl",),
    "gsm8k_aug_nl": ("jsonl", "gsm8k_aug"),
    "math500": ("math",),
    "prontoqa": ("jsonl",),
    "prosqa": ("jsonl",),
}
REASONING = re.compile(
    r"(?:^|[^a-z])(?:cots?|chains?|rationales?|solutions?|explanations?|reasonings?|thoughts?|thinking|steps?|proofs?"
    r"|derivations?|workings?)(?:$|[^a-z])"
)


def recognise(row: dict) -> str | None:
    """Return the data set whose rows look like this one, None where there is none."""
    return next((name for name, form in FORMS.items() if not form.by_name and form.has(row)), None)


def check_form(row: dict, name: str, place) -> None:
    """Refuse a row of another data set's form.

    Raises:
        InputError: names the data set to use.
    """
    if name != "jsonl" and name in FORMS and FORMS[name].has(row):
        return
    found = recognise(row)
    if found is not None and found != name and found not in SAME_ROWS.get(name, ()):
        fields = ", ".join(FORMS[found].needs) + (f" with '{FORMS[found].mark[1]}'" if FORMS[found].mark else "")
        raise InputError(f"{place}: a row of '{found}' ({fields}), not of '{name}'; load it with dataset '{found}'")


def fields_of(name: str) -> tuple[str, ...]:
    """Return the fields that a data set of files reads."""
    forms = [FORMS[one] for one in (name, *SAME_ROWS.get(name, ())) if one in FORMS]
    return tuple(dict.fromkeys(field for form in forms for field in form.fields))


def parse_columns(columns: str) -> dict[str, str]:
    """Return the mapping that ``question=problem,answer=solution``, or a JSON object, stands for.

    Raises:
        InputError: a part is no ``field=column``, or a field is given twice.
    """
    if columns.lstrip().startswith("{"):
        return {field: "" if column is None else column for field, column in parse_json("columns", columns).items()}
    parsed = {}
    for pair in columns.split(","):
        field, equals, column = (part.strip() for part in pair.partition("="))
        if not field or not equals or field in parsed:
            raise InputError(
                f"columns={columns}: '{pair}' is not a new field=column; write question=problem,answer=solution"
            )
        parsed[field] = column
    return parsed


def check_columns(columns: dict[str, str] | None, name: str) -> None:
    """Refuse a mapping of columns that the data set cannot follow.

    Args:
        columns: field -> column of the file.
        name: of the data set.

    Raises:
        InputError: no mapping of texts, a field the data set does not read, or a column given twice.
    """
    if columns is None:
        return
    if not isinstance(columns, dict) or not all(isinstance(one, str) for pair in columns.items() for one in pair):
        raise InputError(f"columns={columns!r} must map fields to columns, such as question=problem,answer=solution")
    for field in columns:
        check_choice("field of columns", field, fields_of(name))
    twice = [column for column in columns.values() if column and list(columns.values()).count(column) > 1]
    if twice:
        raise InputError(f"columns reads column '{twice[0]}' twice; a column is one field")


def rename(row: dict, columns: dict[str, str], name: str, place) -> dict:
    """Return a row under the names its data set reads; ``steps=`` with no column leaves written reasoning out.

    Raises:
        InputError: the row lacks a column.
    """
    for column in columns.values():
        if column and column not in row:
            raise InputError(f"{place}: columns names '{column}', which the row lacks{nearest(column, row)}")
    sources = set(columns.values())
    renamed = {field: value for field, value in row.items() if field not in sources and field not in columns}
    if "" in sources:  # only what is read, and that not
        renamed = {field: value for field, value in renamed.items() if field in fields_of(name)}
    for field, column in columns.items():
        if column:
            is_text = field == "steps" and isinstance(row[column], str)
            renamed["cot" if is_text else field] = row[column]
    return renamed


def refuse_unread_reasoning(row: dict, place) -> None:
    """Refuse a row without steps whose reasoning seems to stand in a field that is not read.

    Raises:
        InputError: names the field.
    """
    for field, value in row.items():
        if field in OWN.fields or not value or not isinstance(value, str | list):
            continue
        if REASONING.search(re.sub(r"(?<=[a-z])(?=[A-Z])", "_", field).lower()):
            raise InputError(
                f"{place}: field '{field}' looks like written reasoning, and 'steps' is empty; read it with "
                f"columns steps={field}, or leave it out with columns steps="
            )


class LeftOut:
    """Which fields of a file's rows are not read, said once."""

    def __init__(self, name: str, read: tuple[str, ...] = ()):
        self.read = {*fields_of(name), *read}
        self.name, self.seen, self.fields = name, set(), {}

    def note(self, row: dict) -> None:
        """Keep the fields of a row."""
        keys = tuple(row)
        if keys not in self.seen:
            self.seen.add(keys)
            self.fields |= dict.fromkeys(str(key) for key in keys if key not in self.read)

    def say(self, source: str) -> None:
        """Log one line where there is something to say; once, since train and validation read one file."""
        if self.fields:
            logger.warning_once(
                f"{source}: '{self.name}' does not read the fields {', '.join(self.fields)}; they are left out"
            )
