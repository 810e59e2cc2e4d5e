"""Which provider serves, how much of it, and what is written down about it."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from llm.dialogue import Dialogue, n_exchanges
from llm.fetching.download import HttpConfig
from llm.sources import Corpus
from llm.sources.collect import SourceConfig, check_sources, collect, interleave, providers_of, take
from llm.sources.cornell import CornellConfig
from llm.sources.curated import CuratedConfig
from llm.sources.docs import DocsConfig
from llm.sources.local import LocalConfig
from llm.sources.stackexchange import StackexchangeConfig


def dialogues(name: str, *n_turns: int) -> list[Dialogue]:
    return [Dialogue(f"{name}-{i}", "dialogue", f"{name}-{i}", ("x",) * n) for i, n in enumerate(n_turns)]


def corpus(name: str, *n_turns: int) -> Corpus:
    return Corpus(dialogues(name, *n_turns), f"{name}.zip", "MIT", "0" * 64, counts={"rows": 9})


def broken() -> Corpus:
    raise OSError("no connection\nto the server")


def ids(found):
    return [dialogue.id for dialogue in found]


def test_the_limit_counts_exchanges_of_whole_dialogues():  # 2 + 1 exchanges; the third would make 6
    assert ids(take(dialogues("a", 3, 2, 4, 2), 5)) == ["a-0", "a-1"]


def test_a_higher_limit_only_adds_dialogues():
    found = dialogues("a", *range(2, 12))
    for limit in range(1, 60):
        assert take(found, limit + 1)[: len(take(found, limit))] == take(found, limit)


def test_a_limit_below_the_first_dialogue_is_refused():
    with pytest.raises(ValueError, match="limit 2 is less than the first dialogue's 4 exchanges"):
        take(dialogues("a", 5), 2)


def films(*sizes: int) -> list[Dialogue]:
    """Films of so many conversations of one exchange, film by film."""
    return [Dialogue(f"{f}-{i}", "dialogue", f"film {f}", ("x", "y")) for f, n in enumerate(sizes) for i in range(n)]


@pytest.mark.parametrize(
    ("limit", "taken"),
    [(9, 9), (10, 10), (15, 10), (20, 10), (21, 21), (39, 39), (40, 40), (41, 40), (99, 42)],
)  # a film that is cut goes, but where it is more than half of what there is
def test_a_film_that_the_limit_cuts_is_left_out(limit: int, taken: int):
    assert len(take(films(10, 30, 2), limit)) == taken


def test_a_higher_limit_only_adds_films():
    found = films(10, 30, 2, 7, 60, 1, 1)
    for limit in range(1, 120):
        assert take(found, limit + 1)[: len(take(found, limit))] == take(found, limit)


def test_providers_served_together_share_the_limit_evenly():
    both = take(interleave([dialogues("a", *[2] * 50), dialogues("b", *[3] * 50)]), 40)
    exchanges = {name: sum(n_exchanges(d) for d in both if d.id.startswith(name)) for name in "ab"}
    assert exchanges == {"a": 20, "b": 20}


def test_a_small_provider_leaves_the_rest_of_the_limit_to_the_other():
    both = list(interleave([dialogues("a", 2), dialogues("b", *[2] * 9)]))
    assert len(both) == 10


def test_the_first_provider_serves_and_the_others_are_not_asked():
    found = collect("dialogue", {"a": lambda: corpus("a", 2), "b": broken}, ["a", "b"], fallback=True, limit=9)
    assert ids(found.dialogues) == ["a-0"]
    assert found.provenance["failed"] == []


def test_a_failing_provider_is_an_error_that_names_the_way_out():
    with pytest.raises(ValueError, match="b failed: no connection to the server; or go on with a by fallback: true"):
        collect("dialogue", {"a": lambda: corpus("a", 2), "b": broken}, ["b", "a"], fallback=False, limit=9)


def test_a_fallback_is_logged_and_recorded(caplog):
    found = collect("dialogue", {"a": lambda: corpus("a", 2), "b": broken}, ["b", "a"], fallback=True, limit=9)
    assert ids(found.dialogues) == ["a-0"]
    assert found.provenance["failed"] == [{"provider": "b", "reason": "no connection to the server"}]
    assert "b failed: no connection to the server; going on with a" in caplog.text


def test_the_last_provider_has_no_fallback():
    with pytest.raises(ValueError, match=r"dialogue: b failed: no connection to the server$"):
        collect("dialogue", {"b": broken}, ["b"], fallback=True, limit=9)


def test_of_two_served_together_none_may_fail():
    providers = {"a": lambda: corpus("a", 2), "b": broken, "c": lambda: corpus("c", 2)}
    found = collect("dialogue", providers, ["a+b", "c"], fallback=True, limit=9)
    assert ids(found.dialogues) == ["c-0"]


def test_an_empty_corpus_is_a_failure():
    with pytest.raises(ValueError, match="there are no dialogues"):
        collect("dialogue", {"a": lambda: corpus("a")}, ["a"], fallback=False, limit=9)


def test_the_record_says_who_served_how_much_under_which_licence():
    providers = {"a": lambda: corpus("a", 2, 3), "b": lambda: corpus("b", 2, 2, 2)}
    record = collect("dialogue", providers, ["a+b"], fallback=False, limit=4).provenance
    assert (record["dialogues"], record["exchanges"], record["limit"]) == (3, 4, 4)
    assert [(e["provider"], e["dialogues"], e["used"], e["exchanges"], e["rows"]) for e in record["served"]] == [
        ("a", 2, 2, 3, 9),
        ("b", 3, 1, 1, 9),
    ]
    assert record["served"][0]["licence"] == "MIT"
    assert record["served"][0]["location"] == "a.zip"
    assert json.loads(json.dumps(record)) == record


HTTP = HttpConfig(timeout_s=1.0, retries=0, backoff_s=0.0)
CORNELL = CornellConfig("a.zip", None)


def config(*providers: str, **changes: Any) -> SourceConfig:
    return SourceConfig(**{"providers": providers, "fallback": False, "limit": 10, "cornell": CORNELL, **changes})


@pytest.mark.parametrize("providers", [(), ("cornel",), ("cornell", "cornell"), ("cornell+chitchat+cornell",), ("",)])
def test_unknown_missing_and_repeated_providers_are_refused(providers):
    with pytest.raises(ValueError, match=r"^providers is .*allowed: chitchat, cornell, eli5"):
        config(*providers)


def test_a_limit_of_nothing_is_refused():
    with pytest.raises(ValueError, match="limit is 0, allowed: 1 to"):
        config("chitchat", limit=0)


@pytest.mark.parametrize("sha256", ["abc", "A" * 64])
def test_what_is_no_sha256_is_refused(sha256):
    for section in (CornellConfig, DocsConfig):
        with pytest.raises(ValueError, match="sha256 is"):
            section(sha256=sha256, **({"location": "a.zip"} if section is CornellConfig else {}))


def test_stackexchange_needs_a_site():
    with pytest.raises(ValueError, match="sites is empty"):
        StackexchangeConfig("a/b", "main", ())


def test_a_provider_that_is_named_without_its_section_is_refused_with_the_keys_of_it():
    with pytest.raises(ValueError, match=r"^stackexchange is missing: .* with the keys location, revision, sites$"):
        config("cornell", "docs+stackexchange", docs=DocsConfig(None))


def test_a_section_of_a_provider_that_is_not_named_may_stay():
    assert config("chitchat").cornell == CORNELL


@pytest.mark.parametrize("name", ["", "My", "a-b", "a/b", "x" * 41, "ü", "all", "macro"])
def test_a_source_s_name_is_one_of_stages_and_files(name):
    check_sources({"mine_2": config("chitchat")})
    with pytest.raises(ValueError, match=f"download has the source {name!r}, allowed: names of 1 to 40"):
        check_sources({"mine_2": config("chitchat"), name: config("chitchat")})


LOCAL = LocalConfig("own.jsonl", None, None, "mine", ())


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (config("chitchat"), config("chitchat")),
        (config("docs", docs=DocsConfig(None)), config("chitchat+docs", docs=DocsConfig("0" * 64))),
        (config("local", local=LOCAL), config("local", local=replace(LOCAL, location=f"{Path.cwd()}/own.jsonl"))),
        (config("local", local=LOCAL), config("local", local=replace(LOCAL, licence="theirs", mask=("email",)))),
        (config("cornell", "chitchat", fallback=True), config("chitchat")),
    ],
)
def test_two_sources_that_read_the_same_are_refused(first: SourceConfig, second: SourceConfig):
    with pytest.raises(ValueError, match=r"^download.a and download.b read the same of \w+: take one of them out"):
        check_sources({"a": first, "b": second})


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (config("cornell", "chitchat"), config("chitchat")),  # without a fallback only the first is asked
        (config("local", local=LOCAL), config("local", local=replace(LOCAL, location="other.jsonl"))),
        (config("local", local=LOCAL), config("local", local=replace(LOCAL, columns={"prompt": "title"}))),
    ],
)
def test_two_sources_that_read_other_things_are_not(first: SourceConfig, second: SourceConfig):
    check_sources({"a": first, "b": second})


def test_no_source_is_refused():
    with pytest.raises(ValueError, match="download is empty, allowed: one source or more"):
        check_sources({})


def test_every_provider_can_serve_every_source(tmp_path):
    """Each reads something, and its dialogues are of the source that asked."""
    item = {"id": "a-1", "topic": "t", "turns": ["What is a loss?", "A number that says how wrong it was."]}
    (tmp_path / "c.jsonl").write_text(json.dumps(item) + "\n", encoding="utf-8")
    sections = {"docs": DocsConfig(None), "curated": CuratedConfig(f"{tmp_path}/c.jsonl")}
    found = providers_of("mine", config("cornell", **sections), HTTP)
    assert list(found) == ["chitchat", "cornell", "docs", "curated"]
    for name in ("chitchat", "docs", "curated"):
        assert {dialogue.source for dialogue in found[name]().dialogues} == {"mine"}
