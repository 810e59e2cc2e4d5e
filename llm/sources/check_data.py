"""What the provider `local` would read of a location, without training on it: `python -m llm check-data`."""

import hashlib
import shlex
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import yaml

from llm.dialogue import Dialogue, n_exchanges
from llm.failures import without_secrets
from llm.fetching.download import HttpConfig
from llm.sources.languages import count_words, describe_languages
from llm.sources.local import Found, LocalConfig, local_data, local_dialogues
from llm.sources.masking import RULES

MIN_TEST = 30  # test dialogues below which a source is called small and gets no interval: clean.min_test_dialogues
FEW_GROUPS = 2  # the split goes through them, section by section


@dataclass
class Check:
    """What was met in the texts of a location."""

    files: dict[str, Path]
    found: Found = field(default_factory=Found)
    damaged: int = 0  # lines
    n_dialogues: int = 0
    n_sections: int = 0
    n_exchanges: int = 0
    n_systems: int = 0
    duplicates: int = 0
    groups: set[str] = field(default_factory=set)
    signs: Counter[str] = field(default_factory=Counter)
    words: Counter[str] = field(default_factory=Counter)

    def note_damage(self, line: str) -> None:
        """Count a damaged line; the first ones are told."""
        self.damaged += 1
        self.found.note(line)

    @property
    def masked(self) -> dict[str, int]:
        """Finds of each rule of masking."""
        return {rule: n for rule in RULES if (n := self.found.counts[f"masked_{rule}"])}

    @property
    def different(self) -> int:
        """Dialogues and sections, each text once."""
        return self.n_dialogues + self.n_sections - self.duplicates


def check_data(config: LocalConfig, http: HttpConfig) -> Check:
    """Read the whole location as `read_local` does, with all rules of masking, and past damaged lines.

    Raises ValueError or OSError where there is nothing to be read.
    """
    check = Check(local_data(config, http))
    seen: set[bytes] = set()
    for dialogue in local_dialogues(check.files, config, "own", check.found, check.note_damage):
        _count(check, dialogue)
        seen.add(hashlib.blake2b("\0".join(dialogue.turns).encode(), digest_size=16).digest())
    total = check.n_dialogues + check.n_sections
    if not total:
        raise ValueError(f"{without_secrets(config.location)} holds no dialogue and no document ({_left_out(check)})")
    check.duplicates = total - len(seen)
    return check


def describe_check(check: Check, config: LocalConfig, max_test_share: float) -> str:
    """The check as lines for people; up to `max_test_share` of the texts can be tested on."""
    facts = [
        ("files", _files(check)),
        ("form", "\n             ".join(_forms(check))),
        ("rows", f"{check.found.counts['rows']:,}"),
        ("dialogues", _dialogues(check)),
        ("sections", f"{check.n_sections:,} of documents, each learned as a text" if check.n_sections else ""),
        ("words", f"{check.words.total():,}, {len(check.words):,} different ones"),
        ("language", describe_languages(check.signs, check.words)),
        ("repeated", f"{check.duplicates:,} word for word: `clean` keeps one of each" if check.duplicates else "none"),
        ("left out", _left_out(check)),
        ("to mask", _masks(check)),
        ("groups", _groups(check, config)),
        ("test set", _test_set(check, max_test_share)),
    ]
    lines = [without_secrets(config.location), *(f"  {name:<11}{fact}" for name, fact in facts if fact)]
    if check.found.left_out:
        lines += ["", "  Left out, the first of them:", *(f"    {line}" for line in check.found.left_out)]
    return "\n".join(lines)


def next_step(config: LocalConfig) -> str:
    """The command that turns the run to the location, and what params.yaml then says of it."""
    local = asdict(config) | {"mask": list(config.mask)}
    source = {"providers": ["local"], "fallback": False, "limit": 100_000, "local": local}
    section = yaml.safe_dump({"download": {"mine": source}}, sort_keys=False, allow_unicode=True)
    if config.form or config.columns:
        return f"  Next: write this source into params.yaml, then `dvc repro`.\n\n{section}"
    command = f"python -m stages.own_data {shlex.quote(config.location)}"
    return f"  Next: `{command}`, then `dvc repro`.\n  Or beside other sources, by hand in params.yaml:\n\n{section}"


def _count(check: Check, dialogue: Dialogue) -> None:
    texts = [*dialogue.turns, *([dialogue.system] if dialogue.system else [])]
    for text in texts:
        check.signs.update(text)
        check.words.update(count_words(text))
    check.groups.add(dialogue.group)
    if dialogue.kind == "document":
        check.n_sections += 1
        return
    check.n_dialogues += 1
    check.n_exchanges += n_exchanges(dialogue)
    check.n_systems += dialogue.system is not None


def _files(check: Check) -> str:
    size = sum(file.stat().st_size for file in check.files.values())
    names = list(check.files)
    shown = f"{', '.join(names[:3])}{' ...' if len(names) > 3 else ''}"
    return (
        f"{len(names):,} ({shown}), {size / 1e6:.1f} MB" if size >= 1e5 else f"{len(names):,} ({shown}), {size:,} bytes"
    )


def _forms(check: Check) -> Iterable[str]:
    """Each form, what its columns are for, and in how many of the files it was met."""
    met = Counter(
        f"{form.name} ({', '.join(f'{use}: {column}' for use, column in form.columns.items()) or 'a whole file'})"
        for form in check.found.forms.values()
    )
    return (f"{form}, {n:,} of the files" if len(met) > 1 else form for form, n in met.items())


def _dialogues(check: Check) -> str:
    if not check.n_dialogues:
        return ""
    systems = f", {check.n_systems:,} with a system turn" if check.n_systems else ""
    return f"{check.n_dialogues:,} with {check.n_exchanges:,} exchanges{systems}"


def _left_out(check: Check) -> str:
    counts = check.found.counts
    unfit = {rule: n for rule, n in counts.items() if n and rule.startswith("rows_")}
    mended = {rule: n for rule, n in counts.items() if n and rule.endswith(("messages", "before_the_user"))}
    told = {"damaged_lines": check.damaged} if check.damaged else {}
    parts = (f"{rule.replace('_', ' ')}: {n:,}" for rule, n in (told | unfit | mended).items())
    return ", ".join(parts) or "nothing"


def _masks(check: Check) -> str:
    return ", ".join(f"{n:,} {rule}" for rule, n in check.masked.items()) or "nothing found"


def _groups(check: Check, config: LocalConfig) -> str:
    groups = f"{len(check.groups):,}, each held out as a whole"
    if "group" in (config.columns or {}) or not check.n_dialogues:
        return groups
    return f"{groups}: a row is one; columns: {{group: NAME}} if rows of one thread belong together"


def _test_set(check: Check, max_test_share: float) -> str:
    n = check.different
    tested, groups = int(n * max_test_share), len(check.groups)
    if not tested:
        return f"none: {n:,} different dialogues and sections are too few to hold any out"
    if groups <= FEW_GROUPS:
        of = f"the last of {n:,} dialogues and sections of {groups:,} group{'s' * (groups > 1)}"
        return f"up to {tested:,}, {of}: figures tell how these go on, nothing of other texts"
    if tested < MIN_TEST:
        return f"{tested:,} of {n:,} dialogues and sections, fewer than {MIN_TEST}: figures without an interval"
    return f"{MIN_TEST:,} or more of {n:,} dialogues and sections: figures with an interval"
