"""What a look at the machine found: lines with a mark, in groups, each with what to do about it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    mark: Literal["ok", "warning", "problem", ""]  # problem: a run cannot start, or will fail; "" goes on with the last
    text: str
    remedy: str = ""


Groups = Mapping[str, Sequence[Finding]]


def report_lines(groups: Groups) -> list[str]:
    """The groups under their names, and a last line that sums up; plain ASCII but for names that are not.

    >>> report_lines({"disk": [Finding("problem", "1 GB is free, 3 are needed", "make room")]})
    ['disk', '  problem  1 GB is free, 3 are needed', '           -> make room', '1 problem, 0 warnings']
    """
    lines = []
    for name, found in groups.items():
        lines.append(name)
        for finding in found:
            lines.append(f"  {finding.mark:8} {finding.text}".rstrip())
            if finding.remedy:
                lines.append(f"{'':11}-> {finding.remedy}")
    marks = [finding.mark for found in groups.values() for finding in found]
    return [*lines, f"{counted(marks.count('problem'), 'problem')}, {counted(marks.count('warning'), 'warning')}"]


def counted(n: int, what: str) -> str:
    """counted(2, "problem") == '2 problems'"""
    return f"{n} {what}{'' if n == 1 else 's'}"
