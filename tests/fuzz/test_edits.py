"""Whether every edit changes what it is given, and the same one twice alike."""

import json
import random

import pytest

from tests.fuzz.edits import EDITS, Edit, edited

TEXTS = (json.dumps({"a": [1, "two", None], "b": {"c": 0.5}}).encode(), b"one,two\nthree,four\n", bytes(range(256)))


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.__name__)
def test_an_edit_changes_most_inputs(edit: Edit) -> None:
    for text in TEXTS:
        changed = [edit(text, random.Random(seed)) for seed in range(100)]
        assert sum(one != text for one in changed) > 40 and len({*changed}) > 10


def test_the_same_seed_makes_the_same_edits() -> None:
    assert [edited(TEXTS, random.Random(5)) for _ in range(2)] == [edited(TEXTS, random.Random(5))] * 2
    assert {text for text in TEXTS if edited([text], random.Random(5)) == text} == set()


def test_every_edit_takes_nothing() -> None:
    for edit in EDITS:
        assert isinstance(edit(b"", random.Random(1)), bytes)
