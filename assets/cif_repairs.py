"""Habits of CIF writers that strict parsers refuse, and by which rule each is set right.

A file that is valid is never touched. Else the rules are tried in this order, until it can be read; the record then
names those that changed something. A fault that could be meant in two ways has no rule: that record is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from gemmi import cif


class Rule(NamedTuple):
    """A named repair: the habit it sets right, and how."""

    name: str
    habit: str
    apply: Callable[[str], str]


def document(words: str) -> tuple[cif.Document, list[str]]:
    """The CIF that a text is, and the names of the rules by which it was repaired.

    Raises:
        ValueError: it cannot be read even so; the error is that of the text as it was.
    """
    try:
        return cif.read_string(words), []
    except (ValueError, RuntimeError) as error:
        first = error
    applied = []
    for rule in RULES:
        changed = rule.apply(words)
        if changed == words:
            continue
        words = changed
        applied.append(rule.name)
        try:
            return cif.read_string(words), applied
        except (ValueError, RuntimeError):
            continue
    raise ValueError(str(first))


def decoded(content: bytes) -> tuple[str, list[str]]:
    """The text of a file, and the names of the rules that its encoding needed. CIF is UTF-8, or ASCII before it."""
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode("utf-16", errors="replace"), ["utf-16"]
    try:
        return content.decode("utf-8-sig"), []
    except UnicodeDecodeError:
        return content.decode("latin-1"), ["latin-1"]


ENCODINGS = {
    "utf-16": "the file is UTF-16, as its first two bytes say",
    "latin-1": "the file is not UTF-8; it is read as Latin-1, which older programs wrote",
}
"""The rules of ``decoded`` and the habits that they set right."""


def _control_characters(words: str) -> str:
    return re.sub(r"[\x00-\x08\x0b\x0e-\x1f\x7f]", "", words)


def _missing_heading(words: str) -> str:
    found = re.search(r"(?m)^[ \t]*(?!#)\S", words)
    first = words[found.start() :].lstrip() if found else ""
    return f"data_\n{words}" if first.startswith("_") or first[:5].lower() == "loop_" else words


def _unquoted(words: str) -> str:
    return "".join(_quoted(line) for line in _outside_text(words))


_PAIR = re.compile(r"(\s*_\S+[ \t]+)([^\s'\"#;$\[\]_].*?)(\s*)")


def _quoted(line: str) -> str:
    found = _PAIR.fullmatch(line)
    if found is None or not re.search(r"[ \t]", value := found[2]) or re.match(r"\S+[ \t]+#", value):
        return line
    quote = next((mark for mark in "'\"" if not re.search(rf"{mark}(?=\s|$)", value)), None)
    return line if quote is None else f"{found[1]}{quote}{value}{quote}{found[3]}"


def _open_quotes(words: str) -> str:
    return "".join(_closed(line) for line in _outside_text(words))


def _closed(line: str) -> str:
    found = re.fullmatch(r"(\s*_\S+[ \t]+)(['\"])([^'\"\n]*?)(\s*)", line)
    return f"{found[1]}{found[2]}{found[3]}{found[2]}{found[4]}" if found else line


def _repeated_names(words: str) -> str:
    """Without the second of two lines that give one name the same value."""
    given: dict[str, str] = {}
    kept = []
    for line in _outside_text(words):
        found = re.fullmatch(r"\s*(_\S+)[ \t]+(\S.*?)\s*", line)
        if re.match(r"\s*data_", line, re.IGNORECASE):
            given = {}
        if found is None or given.get(found[1].lower()) != found[2]:
            kept.append(line)
        if found is not None:
            given.setdefault(found[1].lower(), found[2])
    return "".join(kept)


def _outside_text(words: str) -> Iterator[str]:
    """The lines; those of a text field together with what opens and closes it are one."""
    held: list[str] = []
    for line in words.splitlines(keepends=True):
        if held:
            held.append(line)
            if line.startswith(";"):
                yield "".join(held)
                held = []
        elif line.startswith(";"):
            held.append(line)
        else:
            yield line
    if held:
        yield "".join(held)


_TOKEN = re.compile(
    r"""(?P<text>^;.*?^;)|(?P<long>'''.*?'''|\"\"\".*?\"\"\")|(?P<comment>\#[^\n]*)|(?P<quoted>'[^'\n]*'|"[^"\n]*")"""
    r"""|(?P<open>[\[{])|(?P<blank>\s+)|(?P<other>[^\s\[\]{}]\S*)""",
    re.MULTILINE | re.DOTALL | re.VERBOSE,
)


def _second_version(words: str) -> str:
    """CIF 2.0 in the words of CIF 1.1: triple-quoted values, lists and tables become text fields."""
    if not words.lstrip("\ufeff").startswith("#\\#CIF_2.0"):
        return words
    parts, at = [], 0
    while at < len(words):
        found = _TOKEN.match(words, at)
        if found is None:
            return words
        end = found.end()
        if found.lastgroup == "long":
            parts.append(_field(found[0][3:-3]))
        elif found.lastgroup == "open":
            end = _closing(words, at)
            if end < 0:
                return words
            parts.append(_field(words[at:end]))
        else:
            parts.append(found[0])
        at = end
    return "".join(parts)


def _closing(words: str, at: int) -> int:
    """Where the list or table ends that begins here; -1 if it does not."""
    depth = 0
    for found in re.finditer(r"'[^'\n]*'|\"[^\"\n]*\"|[\[{]|[\]}]", words[at:]):
        depth += (found[0] in "[{") - (found[0] in "]}")
        if not depth:
            return at + found.end()
    return -1


def _field(value: str) -> str:
    return "\n;" + value.replace("\n;", "\n ;") + "\n;\n"


RULES = (
    Rule("cif-2.0", "values of CIF 2.0 in triple quotes, lists and tables are read as text", _second_version),
    Rule("control-characters", "bytes that no text has, such as NUL, are left out", _control_characters),
    Rule("missing-heading", "a file that begins with a name is given an unnamed data_ heading", _missing_heading),
    Rule("unquoted-blanks", "a value with blanks, such as P 21/c after its name, ends with its line", _unquoted),
    Rule("open-quote", "a quote that is not closed ends with its line", _open_quotes),
    Rule("repeated-name", "of two lines that give one name the same value, one is left out", _repeated_names),
)
