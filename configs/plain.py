"""YAML as plain values: what a text may say, and how much of it. Whatever it is, it is read or refused within a second.

Text, numbers, true, false, null, lists, and mappings with text as keys; aliases and `<<` stand for what they repeat. Leaves files to
`configs.read`, and what the values mean to sections.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

MOST = 100_000  # keys and values, with what aliases repeat
DEEPEST = 50
ACCEPTED = "text (in quotes), numbers, true, false, null, lists and mappings are accepted"

_TAG = "tag:yaml.org,2002:"
_MERGE = _TAG + "merge"
_FAST: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # thirteen times as fast, where PyYAML was built with libyaml

Entry = tuple[yaml.Node, yaml.Node]


class _Loader(_FAST):
    """Takes 1e-4 for the number that it is in YAML 1.2, and in the editors that check experiments."""


_Loader.add_implicit_resolver(_TAG + "float", re.compile(r"[-+]?[0-9]+(?:\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789"))


class Refused(Exception):
    """What is wrong with a text, and in which line (1-based)."""

    def __init__(self, at: Any, message: str) -> None:
        """at: the line, or the node or event of PyYAML's that stands there."""
        super().__init__(message)
        self.line: int = at if isinstance(at, int) else at.start_mark.line + 1


def short(text: str) -> str:
    """A text as part of one line."""
    text = text if text.isprintable() else repr(text)
    return text if len(text) <= 60 else text[:57] + "..."


def parsed(text: str) -> tuple[yaml.Node | None, Any]:
    """The nodes of a text, with what `<<` merges in its place, and its value. Raises Refused."""
    if bad := yaml.reader.Reader.NON_PRINTABLE.search(text):
        line = text.count("\n", 0, bad.start()) + 1
        raise Refused(line, f"the character U+{ord(bad[0]):04X} may not stand in YAML")
    try:
        _refuse_too_much(text)
        root = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        raise _broken(text, error) from None
    return root, None if root is None else _Builder().value(root)


def _refuse_too_much(text: str) -> None:
    """Asked of the events, before there are nodes: libyaml composes them on the C stack, where 100,000 brackets end the process."""
    depth = count = 0
    for event in yaml.parse(text, Loader=_Loader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        count += isinstance(event, yaml.NodeEvent)
        if depth > DEEPEST:
            raise Refused(event, f"nested more than {DEEPEST} deep; fewer levels are required")
        if count > MOST:
            raise Refused(event, f"more than {MOST:,} keys and values; fewer are required")


def _broken(text: str, error: yaml.MarkedYAMLError) -> Refused:
    lines = text.rstrip("\n").split("\n")
    line, column = (error.problem_mark.line, error.problem_mark.column) if error.problem_mark else (0, 0)
    line = min(line, len(lines) - 1)  # a text that ends too early ends behind its last line
    if lines[line][column : column + 1] == "\t":
        return Refused(line + 1, "a tab stands where YAML takes spaces alone; spaces are required")
    context = "" if not error.context or error.context.startswith("while") else f"{error.context}, "
    return Refused(line + 1, f"{context}{error.problem}; valid YAML is required")


class _Builder:
    """Plain values of nodes. What an alias repeats is built anew, so that a `--set` changes one place alone."""

    def __init__(self) -> None:
        self._left = MOST
        self._scalars = yaml.constructor.SafeConstructor()

    def value(self, node: yaml.Node, depth: int = 1) -> Any:
        self._spend(node, depth)
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node)
        if isinstance(node, yaml.SequenceNode) and node.tag == _TAG + "seq":
            return [self.value(child, depth + 1) for child in node.value]
        if isinstance(node, yaml.MappingNode) and node.tag == _TAG + "map":
            return {key.value: self.value(value, depth + 1) for key, value in self._entries(node, depth)}
        raise _unaccepted(node)

    def _spend(self, node: yaml.Node, depth: int) -> None:
        self._left -= 1
        if depth > DEEPEST:  # as the text itself is not
            raise Refused(node, f"an alias inside what it repeats, or more than {DEEPEST} deep; fewer levels are required")
        if self._left < 0:
            raise Refused(node, f"more than {MOST:,} keys and values with what aliases repeat; fewer are required")

    def _entries(self, node: yaml.MappingNode, depth: int) -> list[Entry]:
        """A mapping's keys and values, with what `<<` merges in its place from now on: for `Document.line` too."""
        own, sources = dict[str, Entry](), list[yaml.Node]()
        for key, value in node.value:
            self._spend(key, depth)
            if not isinstance(key, yaml.ScalarNode) or key.tag not in {_TAG + "str", _MERGE}:
                what = f'key "{short(key.value)}"' if isinstance(key, yaml.ScalarNode) else "a key that is a list or a mapping"
                raise Refused(key, f"{what} is not text; text is required, in quotes where YAML reads it otherwise")
            if key.value in own or (key.tag == _MERGE and sources):
                raise Refused(key, f'key "{short(key.value)}" stands twice; keep one')
            if key.tag == _MERGE:
                sources = value.value if isinstance(value, yaml.SequenceNode) else [value]
            else:
                own[key.value] = key, value
        merged = dict[str, Entry]()
        for source in reversed(sources):  # what is named first wins
            if not isinstance(source, yaml.MappingNode):
                raise Refused(source, "<< takes a mapping or a list of mappings; one of these is required")
            merged |= {key.value: (key, value) for key, value in self._entries(source, depth + 1)}
        node.value = list((merged | own).values())
        return node.value

    def _scalar(self, node: yaml.ScalarNode) -> Any:
        kind = node.tag.removeprefix(_TAG)
        if kind == "str":
            return node.value
        if kind not in {"int", "float", "bool", "null"} or (kind in {"int", "float"} and ":" in node.value):
            raise _unaccepted(node)  # 12:30 is 750 in YAML 1.1, and text in YAML 1.2
        try:
            value = self._scalars.construct_object(node)
        except (ValueError, LookupError):  # 0x_, or a tag on what is no such thing: !!bool perhaps
            raise _unaccepted(node) from None
        if isinstance(value, int) and value.bit_length() > 63:
            raise Refused(node, "a whole number of more than 64 bits; a smaller one is required")
        return value


def _unaccepted(node: yaml.Node) -> Refused:
    shown = f"{short(node.value)} is " if isinstance(node, yaml.ScalarNode) else ""
    kind = short(node.tag.removeprefix(_TAG))
    return Refused(node, f"{shown}of type {kind}; {ACCEPTED}")
