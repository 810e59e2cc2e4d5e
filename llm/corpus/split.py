"""Which dialogues are trained on, validated on and tested on: by group, by hash, and linked groups together."""

import hashlib
from collections import Counter
from collections.abc import Sequence

from llm.corpus.dedup import Ints

SPLITS = ("train", "val", "test")
MAX_TEST_SHARE = 0.2  # of a source's dialogues: further a small source's test set is not raised
MIN_UNITS = 3  # one for each split; a source of fewer is all trained on


def join_groups(groups: Sequence[str], links: Ints, join_share: float) -> list[str]:
    """The unit of each dialogue: groups tied by links (pairs of dialogue numbers) become one, named after its first.

    Two groups are tied when links between them touch at least `join_share` of the dialogues of either. One line that
    two films share does not make them one (the leak gate takes that dialogue), two drafts of one script do.

    >>> join_groups(["b", "a", "c"], np.array([[0, 1]]), join_share=0.1)
    ['a', 'a', 'c']
    """
    sizes = Counter(groups)
    touched: dict[tuple[str, str], tuple[set[int], set[int]]] = {}
    for pair in links.tolist():
        first, second = sorted(pair, key=lambda i: groups[i])
        if groups[first] != groups[second]:
            sides = touched.setdefault((groups[first], groups[second]), (set(), set()))
            sides[0].add(first)
            sides[1].add(second)
    parent = {group: group for group in sizes}
    for (a, b), (in_a, in_b) in touched.items():
        if len(in_a) >= join_share * sizes[a] or len(in_b) >= join_share * sizes[b]:
            low, high = sorted((_root(parent, a), _root(parent, b)))
            parent[high] = low
    return [_root(parent, group) for group in groups]


def _root(parent: dict[str, str], group: str) -> str:
    while parent[group] != group:
        parent[group] = parent[parent[group]]
        group = parent[group]
    return group


def position(unit: str, seed: int) -> float:
    """The unit's place in [0, 1), from nothing but its name and the seed."""
    digest = hashlib.blake2b(f"{seed}\n{unit}".encode("utf-8", "replace"), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def split_units(units: Sequence[str], val_share: float, test_share: float, min_test: int, seed: int) -> list[str]:
    """The split of each dialogue of one source: the units lowest in hash order are tested on, the highest validate.

    Since places come from names alone, a new dialogue moves no other. Two exceptions keep the sets useful: the test set
    is raised to `min_test` dialogues or a fifth of the source, and a unit larger than half a test set is trained on
    (what many dialogues share is boilerplate, no question worth asking).
    """
    sizes = Counter(units)
    if len(sizes) < MIN_UNITS:
        return ["train"] * len(units)
    wanted = max(1, min(min_test, int(MAX_TEST_SHARE * len(units))))
    largest = max(test_share * len(units) / 2, wanted / 2, sorted(sizes.values())[MIN_UNITS - 1])
    places = sorted((position(unit, seed), unit) for unit, size in sizes.items() if size <= largest)
    split: dict[str, str] = {}
    tested = 0
    for place, unit in places[:-1]:
        if place >= test_share and tested >= wanted:
            break
        split[unit] = "test"
        tested += sizes[unit]
    split |= {unit: "val" for place, unit in places if place >= 1 - val_share and unit not in split}
    split.setdefault(places[-1][1], "val")
    return [split.get(unit, "train") for unit in units]
