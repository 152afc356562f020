"""Cron expressions as contracts may write them: five fields of numbers."""

from __future__ import annotations

import re

_FIELDS = (("minute", 0, 59), ("hour", 0, 23), ("day of the month", 1, 31), ("month", 1, 12), ("day of the week", 0, 7))


def cron_problem(text: str) -> str | None:
    """What is wrong with a cron expression such as ``0 4 * * 1``, or None."""
    fields = text.split()
    if len(fields) != len(_FIELDS):
        return f"{text!r} is not cron: five fields, as in '0 4 * * 1'"
    for field, (name, least, most) in zip(fields, _FIELDS, strict=True):
        for item in field.split(","):
            found = re.fullmatch(r"(?:\*|(\d+)(?:-(\d+))?)(?:/([1-9]\d*))?", item)
            numbers = [int(number) for number in found.groups()[:2] if number] if found else []
            if found is None or numbers != sorted(numbers) or not all(least <= number <= most for number in numbers):
                return f"{item!r} is no {name} in cron: numbers {least} to {most}, as in '0 4 * * 1'"
    return None
