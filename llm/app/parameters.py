"""The parameters of a run for its report: what differs from the preset `laptop`, or from another run, then all."""

import json
from collections.abc import Mapping
from typing import Any

from llm.app.dotted import flatten
from llm.app.markdown import code_span, markdown_table
from llm.app.report_run import Values
from llm.failures import without_secrets

PRIVATE = "canaries.own"  # texts that no page repeats


def show_value(key: str, value: Any) -> str:
    """A value as it stands in params.yaml, but for the secrets of a URL; of private texts how many there are.

    >>> show_value("seed", None), show_value("train.lr", 0.01), show_value("canaries.own", ["my number"])
    ('`null`', '`0.01`', '1 of your own, not shown here')
    """
    if key == PRIVATE:
        return f"{len(value)} of your own, not shown here" if value else "none"
    told = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return code_span(without_secrets(told))


def parameter_differences(here: Values, there: Values) -> dict[str, tuple[str, str]]:
    """The parameters in which two runs differ, by dotted name, with the value of each; `-` where one has none."""
    a, b = flatten(here), flatten(there)
    return {
        key: (_show(key, a), _show(key, b)) for key in sorted(a.keys() | b.keys()) if a.get(key, ...) != b.get(key, ...)
    }


def _show(key: str, values: Mapping[str, Any]) -> str:
    return show_value(key, values[key]) if key in values else "-"


def differences_table(here: Values, there: Values, names: tuple[str, str]) -> str:
    """The differences as a Markdown table; "" where there are none."""
    found = parameter_differences(here, there)
    rows = [(code_span(key), *pair) for key, pair in found.items()]
    return markdown_table(("parameter", *names), rows) if rows else ""


def all_parameters(values: Values) -> str:
    """Every parameter as a Markdown table."""
    rows = [(code_span(key), show_value(key, value)) for key, value in flatten(values).items()]
    return markdown_table(("parameter", "value"), rows)
