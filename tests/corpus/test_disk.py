"""Clean keeps dialogues on the disk, and of them only hashes and sizes in memory."""

import random
import weakref
from dataclasses import replace

import numpy as np
import pytest

from llm.corpus.clean import clean as write_clean
from llm.corpus.ledger import LedgerWriter, first_equal
from llm.dialogue import BATCH, Dialogue, open_table, read_table, write_table
from tests.cleaned import clean
from tests.corpus.test_clean import PLAIN, sentence

LONG = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen"


def many(n):
    rng = random.Random(1)
    for i in range(n):
        yield Dialogue(f"d{i}", "eli5", f"g{i}", (sentence(rng, 5), sentence(rng, 6)))


def test_what_is_read_does_not_stay_in_memory(tmp_path):
    alive, most = weakref.WeakSet(), 0

    def watched():
        nonlocal most
        for dialogue in many(6 * BATCH):
            alive.add(dialogue)
            most = max(most, len(alive))
            yield dialogue

    write_clean({"eli5": watched()}, [], PLAIN, 1, tmp_path / "clean")
    assert most <= BATCH


def test_the_working_folder_is_gone_afterwards_also_when_clean_fails(tmp_path):
    twice = [*many(3), *many(1)]
    with pytest.raises(ValueError, match="eli5: the id 'd0' occurs twice"):
        write_clean({"eli5": twice}, [], PLAIN, 1, tmp_path / "clean")
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_run_left_is_removed(tmp_path):
    left = tmp_path / ".clean" / "repaired.arrow"
    left.parent.mkdir()
    left.write_bytes(b"half a table")
    write_clean({"eli5": many(30)}, [], PLAIN, 1, tmp_path / "clean")
    assert [path.name for path in tmp_path.iterdir()] == ["clean"]


@pytest.mark.parametrize("chosen", [slice(0, 0), slice(None, None, 3), slice(BATCH - 1, BATCH + 1), slice(None)])
def test_rows_taken_by_number_are_those_of_the_table(tmp_path, chosen):
    dialogues = list(many(2 * BATCH + 5))
    write_table(tmp_path / "t", iter(dialogues))
    table, numbers = open_table(tmp_path / "t"), np.arange(len(dialogues))[chosen]
    assert list(table.read(numbers)) == dialogues[chosen]
    table.copy(numbers, tmp_path / "copy")
    assert list(read_table(tmp_path / "copy")) == dialogues[chosen]
    write_table(tmp_path / "again", dialogues[chosen])
    assert (tmp_path / "copy").read_bytes() == (tmp_path / "again").read_bytes()


def test_a_ledger_knows_equal_turns_and_dialogues_by_their_hashes():
    writer = LedgerWriter(("a", "b"))
    for source, name, turns in (("a", "1", ("x", "y")), ("b", "2", ("xy", "", "z")), ("b", "3", ("x", "y"))):
        writer.add(source, Dialogue(name, source, "g", turns), "")
    ledger, again = writer.close()
    assert again is None
    assert first_equal(ledger.content).tolist() == [0, 1, 0]
    assert first_equal(np.stack([ledger.turn, ledger.turn], axis=1)).tolist() == [0, 1, 2, 3, 4, 0, 1]
    assert ledger.group[0] != ledger.group[1] == ledger.group[2]  # a group's name counts within its source
    part = ledger.select(np.array([1]))
    assert part.n_turns.tolist() == [3] and part.turn.tolist() == ledger.turn[2:5].tolist()
    assert part.n_exchanges.tolist() == [2]


def test_duplicates_are_found_whatever_system_turns_stand_between_the_texts():
    plain = list(many(40))
    plain += [replace(plain[3], id="exact"), replace(plain[5], id="near", turns=(plain[5].turns[0], LONG + " so"))]
    plain[5] = replace(plain[5], turns=(plain[5].turns[0], LONG))
    told = [replace(d, system=f"Be number {i}." if i % 3 else None) for i, d in enumerate(plain)]
    reports = [clean({"eli5": one}, [], PLAIN, 1).report["sources"]["eli5"]["dropped"] for one in (plain, told)]
    assert reports[0] == reports[1]
    assert [reports[0][f"{rule}_duplicate"]["examples"] for rule in ("exact", "near")] == [["exact"], ["near"]]
