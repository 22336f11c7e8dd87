"""Whether two answers say the same: as texts, numbers, statements, collections, amounts with units, formulas."""

import logging
import re
from fractions import Fraction

from latent_trainer.evaluation import notation
from latent_trainer.evaluation.grading import gate, members, numerals, units, workers
from latent_trainer.evaluation.grading.equality import proportional, same_value, symbols
from latent_trainer.evaluation.grading.reader import NoFormulaError, negated, read
from latent_trainer.evaluation.grading.statements import Statement, statement
from latent_trainer.evaluation.grading.values import Budget, ExhaustedError

UNITS_OF_WORK = 200_000  # about as many microseconds, for one pair of answers; ordinary ones take a twentieth
COST = 100  # of looking at a pair of texts
VERIFICATION = 90_000  # what a pair that goes to math-verify costs: two of them at most
MAX_NESTING = 12
WORDS = {"yes", "no", "not", "none"}

logger = logging.getLogger(__name__)


def same(predicted: str, expected: str, budget: Budget | None = None) -> bool:
    """Return whether two cleaned answers are the same; False where that would take too much work to find out.

    Args:
        predicted, expected: from `latent_trainer.evaluation.notation.clean`, in any order.
        budget: the work allowed, `UNITS_OF_WORK` unless given.
    """
    try:
        return _Comparison(budget or Budget(UNITS_OF_WORK)).same(
            *sorted((numerals.resolved(predicted), numerals.resolved(expected)))
        )
    except ExhaustedError:
        return False


class _Comparison:
    """One pair of answers: what has been found out about its parts, and the work left for the rest."""

    def __init__(self, budget: Budget):
        self.budget = budget
        self.verdicts: dict[tuple[str, str], bool] = {}
        self.trees: dict[str, tuple | None] = {}
        self.nesting = 0

    def same(self, one: str, other: str) -> bool:
        """Compare two answers or parts of them."""
        self.budget.pay(COST + len(one) + len(other))
        if same_at_once(one, other):
            return True
        key = (one, other) if one <= other else (other, one)
        if key not in self.verdicts:
            self.nesting += 1
            self.verdicts[key] = self.nesting <= MAX_NESTING and self._same(one, other)
            self.nesting -= 1
        return self.verdicts[key]

    def _same(self, one: str, other: str) -> bool:
        if max(notation.depth(one), notation.depth(other)) > MAX_NESTING:
            return False
        lists = [_listed(text) for text in (one, other)]
        if any(lists):
            named = any("=" in member for found in lists if found for member in found[1])
            pair = [found or _as_list(text, named) for found, text in zip(lists, (one, other), strict=True)]
            return self._same_collection(*pair)
        said, also = statement(one), statement(other)
        if said.relations or also.relations or said.names or also.names:
            return self._same_statement(said, also)
        return self._same_amount(said.values[0], also.values[0])

    def _same_statement(self, one: Statement, other: Statement) -> bool:
        """Compare what two statements say: values where the names allow it, else whole equations."""
        if one.values and other.values and (not one.names or not other.names or one.names == other.names):
            ends = {
                (left, right) for left in (one.values[0], one.values[-1]) for right in (other.values[0], other.values[-1])
            }
            if self._holds(one) and self._holds(other) and any(self.same(*pair) for pair in sorted(ends)):
                return True
            if one.names and one.names == other.names and _same_kinds(one, other):
                return False
        return bool(one.relations and other.relations) and self._same_relations(one.relations, other.relations)

    def _holds(self, said: Statement) -> bool:
        """Return whether the sides of a chain are equal, as those of 2 + 3 = 5 and x = 4/2 = 2 are."""
        return all(
            self.same(left, right) or self._same_percentage(left, right)
            for left, right in zip(said.values, said.values[1:], strict=False)
        )

    def _same_percentage(self, one: str, other: str) -> bool:
        """Return whether one side is the other in percent."""
        for left, right in ((one, other), (other, one)):
            amount, unit = units.measured(left)
            if unit == (("%", 1),) and units.measured(right)[1] is None and self.same(f"({amount})/100", right):
                return True
        return False

    def _same_relations(self, one: tuple, other: tuple) -> bool:
        """Return whether every relation of each side has its equal on the other."""
        if len(one) != len(other):
            return False
        return all(any(self._same_relation(a, b) for b in other) for a in one) and all(
            any(self._same_relation(a, b) for a in one) for b in other
        )

    def _same_relation(self, one: tuple[str, str, str], other: tuple[str, str, str]) -> bool:
        if one[0] != other[0]:
            return False
        if self._same_sides(one[1:], other[1:]):
            return True
        if one[0] in ("=", r"\ne", r"\approx", r"\sim") and self._same_sides(one[1:], other[:0:-1]):
            return True
        if one[0] not in ("=", r"\ne", "<", r"\le"):
            return False
        trees = [self.tree(side) for side in (*one[1:], *other[1:])]
        if None in trees:
            return False
        left, right, other_left, other_right = trees
        sign = proportional(("add", left, negated(right)), ("add", other_left, negated(other_right)), self.budget)
        return sign is not None and (sign > 0 or one[0] in ("=", r"\ne"))

    def _same_sides(self, one: tuple, other: tuple) -> bool:
        """Return whether two pairs of sides are equal; without a name in them they say nothing but true or false."""
        trees = [self.tree(side) for side in one]
        if None not in trees and not symbols(*trees):
            return False
        return all(map(self.same, one, other))

    def _same_collection(self, one: members.Collection, other: members.Collection) -> bool:
        (kind, rows), (other_kind, other_rows) = members.shape(one), members.shape(other)
        if kind != other_kind and ("" not in (kind, other_kind) or rows == other_rows == [r"\emptyset"]):
            return False
        if {kind, other_kind} <= {"", "{}", "cup"}:
            return self._same_set(rows, other_rows)
        if len(rows) != len(other_rows):
            return False
        if {kind, other_kind} & {"matrix", "det"}:
            if kind != other_kind:
                return False
            cells, other_cells = ([cell for one in table for cell in members.row(one)] for table in (rows, other_rows))
            return (
                len(members.row(rows[0])) == len(members.row(other_rows[0]))
                and len(cells) == len(other_cells)
                and all(map(self.same, cells, other_cells))
            )
        return all(map(self.same, rows, other_rows))

    def _same_set(self, one: list[str], other: list[str]) -> bool:
        """Return whether every member has its equal on the other side; the budget bounds how many can be compared."""
        self.budget.pay(COST * (len(one) + len(other)))
        keys, other_keys = set().union(*map(_keys, one)), set().union(*map(_keys, other))
        rest = [left for left in one if not _keys(left) & other_keys]
        other_rest = [right for right in other if not _keys(right) & keys]
        return all(any(self.same(left, right) for right in other) for left in rest) and all(
            any(self.same(left, right) for left in one) for right in other_rest
        )

    def _same_amount(self, one: str, other: str) -> bool:
        """Compare two values without names: first their units, then the amounts."""
        one, other = _unbracketed(one), _unbracketed(other)
        (amount, unit), (other_amount, other_unit) = units.measured(one), units.measured(other)
        if unit and not other_unit:
            other_amount, other_unit = units.lettered(other, unit)
        elif other_unit and not unit:
            amount, unit = units.lettered(one, other_unit)
        if unit and other_unit:
            times = units.ratio(unit, other_unit)
            if times is None:
                return False
            if times != 1:
                value, other_value = numerals.number(amount), numerals.number(other_amount)
                return value is not None and other_value is not None and value * times == other_value
        return self._same_value(amount, other_amount)

    def _same_value(self, one: str, other: str) -> bool:
        return self._same_arithmetic(one, other) or self._verified(one, other)

    def _verified(self, one: str, other: str) -> bool:
        """Let math-verify compare what is more than arithmetic: sums, products, operations on sets."""
        if not (gate.is_beyond_arithmetic(one) or gate.is_beyond_arithmetic(other)):
            return False
        if not (gate.is_judgeable(one) and gate.is_judgeable(other)):
            return False
        self.budget.pay(VERIFICATION)
        try:
            return workers.ask(*sorted((one, other)))
        except workers.WorkerError as error:
            logger.warning("a pair of formulas counts as not equal: %s", error)
            return False

    def _same_arithmetic(self, one: str, other: str) -> bool:
        if same_at_once(one, other):
            return True
        if _is_number(one) and _is_number(other):
            return False
        parts, other_parts = members.collection(one), members.collection(other)
        if parts or other_parts:
            if (parts or other_parts)[0] in ("matrix", "det") and not (parts and other_parts):
                return False
            return self._same_collection(parts or ("", [one]), other_parts or ("", [other]))
        tree, other_tree = self.tree(one), self.tree(other)
        if tree is None or other_tree is None:
            return False
        return same_value(tree, other_tree, self.budget) or self._same_in_lower_case(tree, other_tree)

    def _same_in_lower_case(self, one: tuple, other: tuple) -> bool:
        """Compare without regard to capitals, where neither formula has a letter in both cases."""
        folded = _folded(one), _folded(other)
        return None not in folded and folded != (one, other) and same_value(*folded, self.budget)

    def tree(self, text: str) -> tuple | None:
        """Return a text as a formula, None where it is none."""
        if text not in self.trees:
            self.budget.pay(5 * min(len(text), 1_000))
            try:
                self.trees[text] = None if text.casefold() in WORDS else read(text)
            except NoFormulaError:
                self.trees[text] = None
        return self.trees[text]


def same_at_once(one: str, other: str) -> bool:
    """Return whether two cleaned answers are the same text or the same exact number."""
    if notation.compact(one) == notation.compact(other):
        return True
    value = numerals.number(one)
    return value is not None and value == numerals.number(other)


def _keys(text: str) -> set:
    """Return what two answers have in common that are the same at once."""
    return {notation.compact(text), numerals.number(text)} - {None}


def _is_number(text: str) -> bool:
    return isinstance(numerals.number(text), Fraction)


def _listed(text: str) -> members.Collection | None:
    """Return a list without brackets, which is taken apart before names and units are."""
    if "\\begin" in text or not re.search("[,;]", text):
        return None
    for separator in (";", ","):
        pieces = notation.split(text, separator)
        if len(pieces) > 1:
            return "", [one for piece in pieces for one in members.signed(piece)]
    return None


def _as_list(text: str, named: bool) -> members.Collection:
    """Return what a list is compared with: the members of x = {1, 2} or, with names, of (x, y) = (1, 2); else the text."""
    said = statement(text)
    valued = len(said.values) == 1 and {sign for sign, *_ in said.relations} <= {"=", r"\in"}
    found = members.collection(said.values[0] if valued else text)
    names = next((name[1:-1].split(",") for name in said.names if name.startswith("(")), [])
    if found and named and names and len(names) == len(found[1]):
        return "", [f"{name} = {value}" for name, value in zip(names, found[1], strict=True)]
    return found or ("", [text])


def _unbracketed(text: str) -> str:
    """Take brackets off that stand around a whole amount: (5 cm)."""
    while text.startswith("(") and "," not in text and ";" not in text and notation.closing(text, 0) == len(text) - 1:
        text = text[1:-1].strip()
    return text


def _same_kinds(one: Statement, other: Statement) -> bool:
    """Return whether both statements are equations or both inequalities."""
    return {sign for sign, *_ in one.relations} == {sign for sign, *_ in other.relations}


def _folded(tree: tuple) -> tuple | None:
    names = symbols(tree)
    if len({name.lower() for name in names}) < len(names):
        return None
    return _lowered(tree)


def _lowered(tree: tuple) -> tuple:
    if tree[0] == "symbol":
        return ("symbol", tree[1].lower())
    return tuple(_lowered(child) if isinstance(child, tuple) else child for child in tree)
