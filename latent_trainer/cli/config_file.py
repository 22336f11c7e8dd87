"""YAML files of options, read so that every value means what it says.

Which values there are is for an option's type to decide, so values of options are handed on as they are written. Inside a
mapping, plain decimal numbers, true, false and null are what they say; words that YAML's older version takes for something
else (yes, no, on, off, 010, 1:30, 0x10, dates) stay words, which a text option keeps and a boolean one understands.
"""

import codecs
import re
from collections.abc import Iterator
from pathlib import Path

import yaml
from yaml import MappingNode, Node, ScalarNode, SequenceNode

from latent_trainer.bundled import resolve
from latent_trainer.errors import InputError

MOST_NODES = 10_000  # of a file, aliases written out; the longest recipe has eighty
MOST_DEPTH = 20
MARKS = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}
MERGE = "tag:yaml.org,2002:merge"
NULL = re.compile(r"null|Null|NULL|~|")
BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
INT = re.compile(r"[-+]?(0|[1-9][0-9]{0,99})")
FLOAT = re.compile(r"[-+]?(\.[0-9]+|(0|[1-9][0-9]{0,99})(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
OLD = re.compile(  # what YAML 1.1 reads as a truth value, a number or a date, and its successor as a text
    r"[yY]|[nN]|(yes|Yes|YES|no|No|NO|on|On|ON|off|Off|OFF)|[-+]?[0-9][0-9_]*(:[0-9]+)*(\.[0-9_]*)?|[-+]?0[xob][0-9a-fA-F_]+"
    r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)|\d{4}-\d\d?-\d\d?.*"
)


class Word(str):
    """An unquoted word that YAML's older version takes for a truth value, a number or a date."""


def read_config(path: str) -> dict:
    """Return the options in a YAML file: texts as written, lists of them, and mappings; None for a key without a value.

    Raises:
        InputError: another encoding, malformed YAML, a key that stands twice, a tag, aliases that blow up; in one line with
            the place.
        FileNotFoundError: no such file.
    """
    path = resolve(path)
    if not Path(path).is_file():
        raise FileNotFoundError(f"no configuration file {path}; check --config, or see latent-trainer recipes list")
    text = _text(path)
    try:
        _check_events(text, path)
        root = yaml.compose(text, yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = " ".join(str(getattr(error, "problem", None) or getattr(error, "reason", error)).split())
        raise InputError(f"{path}{f':{mark.line + 1}' if mark else ''}: malformed YAML ({problem})") from None
    if root is None:
        raise InputError(f"{path} is empty; write 'option: value' lines")
    if not isinstance(root, MappingNode):
        found = "list" if isinstance(root, SequenceNode) else "text"
        raise InputError(f"{path}: expected 'option: value' lines, found a {found}")
    _check_size(root, path)
    return {key: _option(node, f"{path}:{node.start_mark.line + 1}: {key}", path) for key, node in _pairs(root, path)}


def words_in(value) -> Iterator[Word]:
    """Yield the words of a mapping that only an option's type can tell the meaning of."""
    if isinstance(value, Word):
        yield value
    for one in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from words_in(one)


def _text(path: str) -> str:
    data = Path(path).read_bytes()
    for mark, name in MARKS.items():
        if data.startswith(mark):
            raise InputError(f"{path} is written in {name}; save it as UTF-8")
    if b"\0" in data:
        raise InputError(f"{path} holds zero bytes, as a file written in UTF-16 does; save it as UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path}:{line}: not UTF-8 but another encoding, such as latin-1; save it as UTF-8") from None


def _check_events(text: str, path: str) -> None:
    """Refuse what must not be composed, which recurses: deep nesting, tags, several documents."""
    depth = documents = nodes = 0
    for event in yaml.parse(text, yaml.SafeLoader):
        place = f"{path}:{event.start_mark.line + 1}"
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        documents += isinstance(event, yaml.DocumentStartEvent)
        nodes += isinstance(event, yaml.NodeEvent)
        if depth > MOST_DEPTH:
            raise InputError(f"{place}: nested more than {MOST_DEPTH} levels deep; no option needs that")
        if nodes > MOST_NODES:
            raise InputError(f"{place}: more than {MOST_NODES} values; write fewer")
        if documents > 1:
            raise InputError(f"{place}: a second document begins (---); write one document per file")
        if getattr(event, "tag", None) is not None:
            tag = event.tag.replace("tag:yaml.org,2002:", "!!")
            raise InputError(f"{place}: the tag {tag} is not read; write the value without it")


def _check_size(root: Node, path: str) -> None:
    """Refuse aliases that stand for more than anybody writes, or for themselves."""
    sizes: dict[int, int] = {}

    def size(node: Node, open_: tuple[int, ...] = ()) -> int:
        place = f"{path}:{node.start_mark.line + 1}"
        if id(node) in open_ or len(open_) > MOST_DEPTH:
            raise InputError(f"{place}: aliases that refer to themselves or are nested too deeply; write the values out")
        if id(node) not in sizes:
            parts = node.value if isinstance(node, SequenceNode) else ()
            parts = [part for pair in node.value for part in pair] if isinstance(node, MappingNode) else parts
            sizes[id(node)] = 1 + sum(size(part, (*open_, id(node))) for part in parts)
        if sizes[id(node)] > MOST_NODES:
            raise InputError(f"{place}: more than {MOST_NODES} values once aliases are written out; write fewer")
        return sizes[id(node)]

    size(root)


def _pairs(node: MappingNode, path: str) -> list[tuple[str, Node]]:
    """Return the keys of a mapping with their values, merged mappings (<<) included; own keys win over merged ones."""
    own: dict[str, Node] = {}
    merged: dict[str, Node] = {}
    for key, value in node.value:
        place = f"{path}:{key.start_mark.line + 1}"
        if key.tag == MERGE:
            for other in value.value if isinstance(value, SequenceNode) else [value]:
                if not isinstance(other, MappingNode):
                    raise InputError(f"{place}: << merges mappings; give it one, or a list of them")
                merged = {**dict(_pairs(other, path)), **merged}
            continue
        if not isinstance(key, ScalarNode) or (key.style is None and NULL.fullmatch(key.value)):
            raise InputError(f"{place}: a key must be a text; write 'option: value'")
        if key.value in own:
            raise InputError(f"{place}: key '{key.value}' appears twice; keep one")
        own[key.value] = value
    return list({**merged, **own}.items())


def _option(node: Node, place: str, path: str):
    """Return the value of an option: a text as it is written, a list of texts, or a mapping."""
    if isinstance(node, SequenceNode):
        entries = [_option(entry, place, path) for entry in node.value]
        if not all(isinstance(entry, str) for entry in entries):
            raise InputError(f"{place} is a list, and every entry must be one text or number")
        return entries
    return None if _is_null(node) else node.value if isinstance(node, ScalarNode) else _value(node, path)


def _value(node: Node, path: str):
    """Return what stands inside a mapping."""
    if isinstance(node, MappingNode):
        return {key: _value(value, path) for key, value in _pairs(node, path)}
    if isinstance(node, SequenceNode):
        return [_value(entry, path) for entry in node.value]
    text = node.value
    if node.style is not None:
        return text
    if _is_null(node):
        return None
    if BOOL.fullmatch(text):
        return text.lower() == "true"
    if INT.fullmatch(text):
        return int(text)
    if FLOAT.fullmatch(text):
        return float(text)
    return Word(text) if OLD.fullmatch(text) else text


def _is_null(node: Node) -> bool:
    return isinstance(node, ScalarNode) and node.style is None and NULL.fullmatch(node.value) is not None
