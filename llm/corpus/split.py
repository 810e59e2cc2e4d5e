"""Which dialogues are trained on, validated on and tested on: by group, by hash, and linked groups together."""

import hashlib
from collections import Counter
from collections.abc import Sequence

import numpy as np

from llm.corpus.dedup import Ints, distinct

SPLITS = ("train", "val", "test")
GAP = "gap"  # left out between two splits that one group goes through
MAX_TEST_SHARE = 0.2  # of a source's dialogues: further a test set is not raised, and no unit held out is larger
MIN_SECTIONS = 5  # three splits and two gaps
FEW_UNITS = 6  # up to which the largest is trained on, whatever its hash


def join_groups(groups: Sequence[str], links: Ints, join_share: float) -> list[str]:
    """The unit of each dialogue: groups tied by links (pairs of dialogue numbers) become one, named after its first.

    Two groups are tied when links between them touch at least `join_share` of the dialogues of either. One line that
    two films share does not make them one (the leak gate takes that dialogue), two drafts of one script do.

    >>> join_groups(["b", "a", "c"], np.array([[0, 1]]), join_share=0.1)
    ['a', 'a', 'c']
    """
    names = sorted(set(groups))
    number = {name: i for i, name in enumerate(names)}
    group = np.fromiter(map(number.__getitem__, groups), np.int64, len(groups))
    sizes = np.bincount(group, minlength=len(names))
    tied = np.concatenate([_touched(group, sizes, side, join_share) for side in (links, links[:, ::-1])])
    parent = list(range(len(names)))
    for a, b in np.unique(tied, axis=0).tolist():
        low, high = sorted((_root(parent, a), _root(parent, b)))
        parent[high] = low
    return [names[_root(parent, i)] for i in group.tolist()]


def _touched(group: Ints, sizes: Ints, links: Ints, join_share: float) -> Ints:
    """(K, 2) pairs of groups where links from the first to the second touch at least `join_share` of the first."""
    first, second = group[links[:, 0]], group[links[:, 1]]
    across = first != second
    n = len(sizes)
    # A row a dialogue of the first group and the second group it is linked to, however many links there are.
    dialogue, other = np.divmod(distinct(links[across, 0] * n + second[across]), max(n, 1))
    pairs, counts = np.unique(group[dialogue] * n + other, return_counts=True)
    both = np.stack(np.divmod(pairs, max(n, 1)), axis=1)
    return both[counts >= join_share * sizes[both[:, 0]]]


def _root(parent: list[int], group: int) -> int:
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

    Since places come from names alone, a new dialogue moves no other. Exceptions keep the sets useful:
    - the test set is raised to `min_test` dialogues or a fifth of the source;
    - a unit larger than half a test set is trained on (what many dialogues share is boilerplate, no question worth
      asking), and of a handful of units the largest is;
    - where no two units can be held out so, as in one book or three films of equal size, the source is cut by section
      (`split_sections`).
    Raises ValueError for a source that is too small to be cut.
    """
    sizes = Counter(units)
    at_most = max(1, int(MAX_TEST_SHARE * len(units)))
    wanted = min(min_test, at_most)
    small = _small_units(sizes, max(test_share * len(units), wanted) / 2, at_most)
    if len(small) < 2:
        return split_sections(len(units), val_share, test_share, min_test) if units else []
    places = sorted((position(unit, seed), unit) for unit in small)
    test = _take_units(places[:-1], sizes, test_share, wanted, at_most)
    left = [(1 - place, unit) for place, unit in reversed(places) if unit not in test]
    val = _take_units(left, sizes, val_share, 1, at_most)
    return ["test" if unit in test else "val" if unit in val else "train" for unit in units]


def _small_units(sizes: Counter[str], half_a_test: float, at_most: int) -> list[str]:
    """The units that may be held out."""
    trained = {max(sizes, key=lambda unit: (sizes[unit], unit))} if 0 < len(sizes) <= FEW_UNITS else set()
    others = sorted(size for unit, size in sizes.items() if unit not in trained)
    # Where units are few and large, the smallest of them all the same: two, and a third for the hash to choose from.
    limit = max(half_a_test, others[: 3 - len(trained)][-1]) if others else 0
    return [unit for unit, size in sizes.items() if unit not in trained and size <= min(limit, at_most)]


def _take_units(
    places: Sequence[tuple[float, str]], sizes: Counter[str], share: float, wanted: int, at_most: int
) -> set[str]:
    """The units placed below `share`, further ones until there are `wanted` dialogues, never more than `at_most`."""
    taken, held = set[str](), 0
    for place, unit in places:
        if place >= share and held >= wanted:
            break
        if held + sizes[unit] <= at_most:
            taken.add(unit)
            held += sizes[unit]
    return taken


def split_sections(n: int, val_share: float, test_share: float, min_test: int) -> list[str]:
    """The split of `n` dialogues or sections that belong together: in one piece each, the last are tested on.

    Neighbours tell of each other, so one is left out at each border.

    >>> split_sections(10, 0.1, 0.2, 1)
    ['train', 'train', 'train', 'train', 'train', 'gap', 'val', 'gap', 'test', 'test']
    """
    if n < MIN_SECTIONS:
        raise ValueError(
            f"its {n} dialogues (or sections) of one or two groups are too few to hold any out: give it {MIN_SECTIONS}"
        )
    at_most = max(1, int(MAX_TEST_SHARE * n))
    n_test = min(at_most, max(round(test_share * n), min_test))
    n_val = min(at_most, max(round(val_share * n), 1))
    return ["train"] * (n - n_test - n_val - 2) + [GAP] + ["val"] * n_val + [GAP] + ["test"] * n_test
