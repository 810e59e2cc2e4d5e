"""What the models of a run learned from and were measured on, as the Markdown page that people read: the data card."""

from collections.abc import Mapping
from typing import Any

from llm.evaluation.figure_files import show_text

COLUMNS = ("source", "served by", "licence", "read", "dropped", "leaks", "train / val / test", "tokens", "evaluated")
WORDS = """\
*read*: rows at the provider, and the dialogues taken of them; a section of a document counts as one. *dropped*: \
dialogues that broke a rule or repeat another. *leaks*: dialogues taken out of training because they give a held-out \
text away. *train / val / test*: dialogues. *tokens*: of the training data, and their share of all. *evaluated*: share \
of the bytes of the replies on which all models are scored."""
LEAK = "leak_"  # with which the rules begin that look for held-out texts


def data_card(data: Mapping[str, Any], evaluated_bytes: Mapping[str, int]) -> str:
    """The page; `data` is metrics/data.json, the bytes are those of the scored replies by source."""
    names = sorted(data["sources"])
    rows = [_row(name, data, evaluated_bytes) for name in names]
    table = [COLUMNS, ("---",) * len(COLUMNS), *rows]
    lines = ["# Data card", "", *(f"| {' | '.join(row)} |" for row in table), "", WORDS, ""]
    lines += [f"- {line}" for name in names for line in _remarks(name, data)]
    lines += ["", _after_gate(data), ""]
    return "\n".join(lines)


def _row(name: str, data: Mapping[str, Any], evaluated_bytes: Mapping[str, int]) -> tuple[str, ...]:
    found, provenance = data["sources"][name], data["provenance"][name]
    dropped = {rule: counts["dialogues"] for rule, counts in found["dropped"].items()}
    tokens = data["tokenizer"]["splits"]["train"]["tokens"]
    return (
        f"`{name}`" + (" (small)" if found["small"] else ""),
        "; ".join(_served(entry) for entry in provenance["served"]),
        "; ".join(dict.fromkeys(show_text(entry["licence"]) for entry in provenance["served"])),
        f"{sum(entry['rows'] for entry in provenance['served']):,} rows, {found['read']['dialogues']:,} dialogues",
        _counts({rule: n for rule, n in dropped.items() if not rule.startswith(LEAK)}),
        _counts({rule.removeprefix(LEAK): n for rule, n in dropped.items() if rule.startswith(LEAK)}),
        " / ".join(f"{found['splits'][split]['dialogues']:,}" for split in ("train", "val", "test")),
        f"{tokens.get(name, 0):,} ({_share(tokens.get(name, 0), tokens['all'])})",
        _share(evaluated_bytes.get(name, 0), sum(evaluated_bytes.values())),
    )


def _served(entry: Mapping[str, Any]) -> str:
    revision = f" at {show_text(entry['revision'][:12])}" if entry["revision"] else ""
    return f"{entry['provider']}: {show_text(entry['location'])}{revision}"


def _counts(counts: Mapping[str, int]) -> str:
    """`long turn 9, repetition 1`; none where all are 0."""
    return ", ".join(f"{rule.replace('_', ' ')} {n:,}" for rule, n in counts.items() if n) or "none"


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "-"


def _remarks(name: str, data: Mapping[str, Any]) -> list[str]:
    """What the readers counted beside rows, and the providers that failed."""
    provenance = data["provenance"][name]
    lines = []
    for entry in provenance["served"]:
        counts = {what: n for what, n in entry["counts"].items() if what != "rows" and n}
        lines += [f"`{name}`, {entry['provider']}: {_counts(counts)}."] if counts else []
    return lines + [
        f"`{name}`: {failed['provider']} failed, so another served: {show_text(failed['reason'])}."
        for failed in provenance["failed"]
    ]


def _after_gate(data: Mapping[str, Any]) -> str:
    left = data["leaks"]["after_gate"]
    held_out = ", ".join(f"{n:,} of {name.replace('_', ' ')}" for name, n in sorted(data["held_out_texts"].items()))
    return (
        f"Held out besides the test sets: texts of question sets ({held_out}). "
        f"After the gate {left['train_leaking']:.2%} of the training dialogues share a passage with a held-out text."
    )
