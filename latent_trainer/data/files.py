"""Reading rows from files: JSON lists and lines, Parquet, CSV, plain lines; each row comes with its place.

A row that cannot be read comes as the `InputError` that says why, so that a check can go on behind it.
"""

import bz2
import csv
import gzip
import json
import lzma
import os
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from latent_trainer.data.values import MAX_DIGITS, Unreadable
from latent_trainer.errors import InputError

JSON, TABLES, TEXT = (".jsonl", ".ndjson", ".json"), {".csv": ",", ".tsv": "\t"}, (".txt",)
SUFFIXES = (*JSON, ".parquet", *TABLES, *TEXT)
OPENERS = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
DAMAGE = (OSError, EOFError, lzma.LZMAError, zlib.error)  # what a damaged compressed file raises, each in its own way
BYTE_ORDER_MARKS = {b"\xff\xfe\0\0": "UTF-32", b"\0\0\xfe\xff": "UTF-32", b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}
LISTED = ("steps", "options", "cot")  # cells of a table that may hold a JSON list
BATCH = 1000  # rows of a Parquet file in memory at once

Row = tuple[dict | InputError, "Place"]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a row stands.

    Args:
        path: the file; "" for rows that come from none.
        number: line of a file of lines, entry of a list, row of a table; from 1.
        kind: what the number counts, as a message says it; "" for lines and rows of a file.
        name: the file without the folders that differ between machines.
        line: of the file in which an entry begins; 0 where it is not known.
    """

    path: str
    number: int
    kind: str = ""
    name: str = ""
    line: int = 0

    def __str__(self):
        line = f"{self.line}: " if self.line else " "
        number = f"{line}{self.kind} {self.number}" if self.kind else str(self.number)
        return f"{self.path}:{number}" if self.path else number.strip()

    @property
    def id(self) -> str:
        """The name of a problem that has none, the same wherever the file lies."""
        return f"{self.name or os.path.basename(self.path)}:{self.number}".removeprefix(":")


def read(path: str, rows: str = "rows", name: str = "", lone: bool = False) -> Iterator[Row]:
    """Yield the rows of a file; the suffix says how it is written.

    Args:
        path: one of ``SUFFIXES``, or that and ``.gz``, ``.bz2`` or ``.xz``.
        rows: what a message calls the rows of a list.
        name: see `Place`.
        lone: whether a JSON file may be a single object, one row.

    Raises:
        InputError: a file that cannot be read at all.
        FileNotFoundError: the file does not exist.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"no file {path}; check dataset_path")
    suffix, name = _suffix(path), name or os.path.basename(path)
    if suffix == ".parquet":
        return _parquet(path, name)
    if suffix in TABLES:
        return _table(path, TABLES[suffix], name)
    if suffix in TEXT:
        return ((line if isinstance(line, InputError) else {"text": line}, place) for line, place in _lines(path, name))
    first = _first_character(path)
    if first == "[" or (first == "{" and suffix == ".json"):
        return _document(path, rows, name, lone)
    return _json_lines(path, name)


def _suffix(path: str) -> str:
    name = Path(path)
    suffix = Path(name.stem).suffix if name.suffix in OPENERS else name.suffix
    if suffix not in SUFFIXES or (name.suffix in OPENERS and suffix == ".parquet"):
        raise InputError(
            f"{path}: unknown kind of file '{''.join(name.suffixes[-2:]) or name.name}'; "
            f"write it as {', '.join(SUFFIXES)}, or all but .parquet compressed ({', '.join(OPENERS)})"
        )
    return suffix


def _open(path: str):
    return OPENERS.get(Path(path).suffix, open)(path, "rb")


def _refuse_wide(path: str, start: bytes) -> None:
    """Refuse the encodings whose characters are wider than a byte: no line of them can be told."""
    for mark, encoding in BYTE_ORDER_MARKS.items():
        if start.startswith(mark):
            raise InputError(f"{path}: encoded as {encoding}, not UTF-8; save it as UTF-8")
    if b"\0" in start[:4]:
        raise InputError(f"{path}: zero bytes at its start, as UTF-16 and UTF-32 have; save it as UTF-8")


def _not_utf8(place: Place, error: UnicodeDecodeError) -> InputError:
    byte = error.object[error.start]
    return InputError(
        f"{place}: not UTF-8: byte 0x{byte:02x} at position {error.start + 1}, perhaps latin-1 (Windows-1252); "
        "save the file as UTF-8"
    )


def _lines(path: str, name: str) -> Iterator[tuple[str | InputError, Place]]:
    """Yield the lines that are not blank; only LF and CRLF end a line, so that U+2028 may stand in a text."""
    try:
        with _open(path) as file:
            for number, line in enumerate(file, 1):
                if number == 1:
                    _refuse_wide(path, line)
                place = Place(path, number, name=name)
                try:
                    text = line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
                except UnicodeDecodeError as error:
                    yield _not_utf8(place, error), place
                    continue
                if "\r" in text:
                    yield InputError(f"{place}: a carriage return inside the line; end every line with LF or CRLF"), place
                elif text.strip():
                    yield text, place
    except DAMAGE as error:
        raise InputError(f"{path}: cannot be read ({error or type(error).__name__}); is it damaged?") from None


def _first_character(path: str) -> str:
    first, _ = next(_lines(path, ""), ("", None))
    return str(first).strip()[:1] if not isinstance(first, InputError) else ""


class Written(float):
    """A number of a JSON file that remembers how it was written: 3.10 may name an exercise."""

    def __new__(cls, text: str):
        """Keep the text."""
        number = super().__new__(cls, text)
        number.text = text
        return number


def _integer(text: str) -> "int | Unreadable":
    return int(text) if len(text) <= MAX_DIGITS else Unreadable(f"an integer of {len(text)} digits")


def _object(pairs: list[tuple]) -> "dict | Unreadable":
    row = dict(pairs)
    if len(row) == len(pairs):
        return row
    keys = [key for key, _ in pairs]
    twice = next(key for key in keys if keys.count(key) > 1)
    return Unreadable(f"an object in which field '{twice}' appears twice")


BLANKS = re.compile(r"[ \t\n\r]*")  # of JSON
DECODER = json.JSONDecoder(parse_float=Written, parse_int=_integer, object_pairs_hook=_object)


def _checked(row, place: Place) -> dict | InputError:
    """Return a row, or what is wrong with it."""
    if isinstance(row, dict):
        return row
    if isinstance(row, Unreadable):
        return InputError(f"{place}: {row.what}; keep one of the two")
    wanted = "an object" if place.kind else "a JSON object"
    return InputError(f"{place}: expected {wanted}, found {type(row).__name__}")


def _json_lines(path: str, name: str) -> Iterator[Row]:
    for line, place in _lines(path, name):
        if isinstance(line, InputError):
            yield line, place
            continue
        try:
            row = DECODER.decode(line)
        except json.JSONDecodeError as error:
            yield InputError(f"{place}: malformed JSON ({error.msg} at column {error.colno})"), place
        except RecursionError:
            yield InputError(f"{place}: JSON nested too deeply; a row is a flat object"), place
        else:
            yield _checked(row, place), place


def _document(path: str, rows: str, name: str, lone: bool) -> Iterator[Row]:
    """Yield the entries of a JSON list, or of an object of nothing but objects: rows under names, as ProntoQA has them."""
    try:
        with _open(path) as file:
            content = file.read()
        entries, lines = _decoded(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise _not_utf8(Place(path, content.count(b"\n", 0, error.start) + 1), error) from None
    except RecursionError:
        raise InputError(f"{path}: JSON nested too deeply; expected a list of {rows}") from None
    except json.JSONDecodeError as error:
        if error.msg == "Extra data" and content.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"{":
            yield from _json_lines(path, name)
            return
        raise InputError(
            f"{path}: malformed JSON (line {error.lineno}, column {error.colno}: {error.msg}); expected a list of {rows}"
        ) from None
    if isinstance(entries, Unreadable):
        raise InputError(f"{path}: {entries.what}; keep one of the two")
    if isinstance(entries, dict) and entries and all(isinstance(entry, dict) for entry in entries.values()):
        entries = list(entries.values())
    if isinstance(entries, dict) and lone:
        entries, lines = [entries], [1]
    if not isinstance(entries, list):
        fields = f" with {', '.join(list(entries)[:8])}" if isinstance(entries, dict) and entries else ""
        raise InputError(f"{path}: expected a JSON list of {rows}, found {type(entries).__name__}{fields}")
    for number, (entry, line) in enumerate(zip(entries, lines, strict=True), 1):
        place = Place(path, number, "entry", name, line)
        yield _checked(entry, place), place


def _behind_blanks(text: str, at: int) -> int:
    """Return the first place from ``at`` on where something stands that is not blank."""
    found = BLANKS.match(text, at)
    return found.end() if found else at


def _decoded(text: str) -> tuple[Any, list[int]]:
    """Return what a JSON file holds, and the lines in which the entries of its list, or of its object, begin.

    Raises:
        json.JSONDecodeError: it is no JSON.
    """
    start = _behind_blanks(text, 0)
    try:
        found = list(_entries(text, start)) if text[start : start + 1] in ("[", "{") else []
    except json.JSONDecodeError:
        found = []  # what follows says what is wrong, or that it is no list
    whole = [entry for entry, _ in found] if found and text[start] == "[" else DECODER.decode(text)
    return whole, [line for _, line in found]


def _entries(text: str, at: int) -> Iterator[tuple[Any, int]]:
    """Yield the entries of the list or the object that begins at a place, each with its line.

    Raises:
        json.JSONDecodeError: it is no JSON, or more than one list or object.
    """
    closing, line, counted = "]" if text[at] == "[" else "}", 1, 0
    at = _behind_blanks(text, at + 1)
    while not (counted == 0 and text[at : at + 1] == closing):
        if closing == "}":
            at = _behind_blanks(text, DECODER.raw_decode(text, at)[1])
            if text[at : at + 1] != ":":
                raise json.JSONDecodeError("Expecting ':' delimiter", text, at)
            at = _behind_blanks(text, at + 1)
        line, counted = line + text.count("\n", counted, at), at
        entry, at = DECODER.raw_decode(text, at)
        yield entry, line
        at = _behind_blanks(text, at)
        if text[at : at + 1] == closing:
            break
        if text[at : at + 1] != ",":
            raise json.JSONDecodeError("Expecting ',' delimiter", text, at)
        at = _behind_blanks(text, at + 1)
    if _behind_blanks(text, at + 1) != len(text):
        raise json.JSONDecodeError("Extra data", text, at + 1)


def _table(path: str, delimiter: str, name: str) -> Iterator[Row]:
    """Yield the rows of a CSV file; an empty cell is no value."""
    faults = []

    def texts():
        for line, _ in _lines(path, name):
            if isinstance(line, InputError):
                faults.append(line)
                raise csv.Error
            yield line + "\n"

    rows = csv.reader(texts(), delimiter=delimiter, strict=True)
    header, number = None, 0
    while True:
        place = Place(path, rows.line_num + 1, name=name)
        try:
            cells = next(rows, None)
        except csv.Error as error:
            raise (faults[0] if faults else InputError(f"{place}: malformed table ({error})")) from None
        if cells is None:
            return
        number += 1
        if header is None:
            header = cells
            twice = sorted({column for column in header if header.count(column) > 1})
            if twice:
                raise InputError(f"{path}: column '{twice[0]}' appears twice; rename one")
        elif len(cells) != len(header):
            yield (
                InputError(f"{place}: {len(cells)} cells under {len(header)} columns; quote texts with '{delimiter}'"),
                place,
            )
        else:
            yield {column: _cell(column, cell) for column, cell in zip(header, cells, strict=True)}, place


def _cell(column: str, cell: str):
    if column in LISTED and cell.lstrip().startswith("["):
        try:
            return json.loads(cell)
        except json.JSONDecodeError:
            return cell
    return cell or None


def _parquet(path: str, name: str) -> Iterator[Row]:
    try:
        file = pq.ParquetFile(path)
        twice = sorted({one for one in file.schema_arrow.names if file.schema_arrow.names.count(one) > 1})
        if twice:
            raise InputError(f"{path}: column '{twice[0]}' appears twice; rename one")
        rows = (row for batch in file.iter_batches(BATCH) for row in table_rows(pa.Table.from_batches([batch])))
        for number, row in enumerate(rows, 1):
            yield row, Place(path, number, name=name)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a Parquet file, or damaged ({str(error).splitlines()[0]})") from None


def table_rows(table: pa.Table) -> list[dict]:
    """Return the rows of a table; a narrow float is the number it was written as, 0.1 and not 0.10000000149."""
    for index, column in enumerate(table.schema):
        if column.type in (pa.float16(), pa.float32()):
            wide = pa.array([float(str(cell)) for cell in table.column(index).to_numpy()], pa.float64())
            table = table.set_column(index, column.name, pc.if_else(table.column(index).is_valid(), wide, None))
    return table.to_pylist()
