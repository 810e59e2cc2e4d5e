"""Which provider serves, how much of it, and what is written down about it."""

import json

import pytest

from llm.dialogue import Dialogue, n_exchanges
from llm.download import HttpConfig
from llm.sources import Corpus
from llm.sources.collect import (
    DialogueConfig,
    Eli5Config,
    TechnicalConfig,
    collect,
    dialogue_providers,
    eli5_providers,
    interleave,
    take,
    technical_providers,
)


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


DIALOGUE = {"fallback": False, "limit": 10, "cornell_location": "a.zip", "cornell_sha256": None}
TECHNICAL = {"fallback": False, "limit": 10, "stackexchange_location": "a/b", "stackexchange_revision": "main"}


@pytest.mark.parametrize("providers", [(), ("cornel",), ("cornell", "cornell"), ("cornell+chitchat+cornell",), ("",)])
def test_unknown_missing_and_repeated_providers_are_refused(providers):
    with pytest.raises(ValueError, match=r"^providers is .*allowed: cornell, chitchat"):
        DialogueConfig(providers=providers, **DIALOGUE)


@pytest.mark.parametrize("change", [{"limit": 0}, {"cornell_sha256": "abc"}, {"cornell_sha256": "A" * 64}])
def test_bad_numbers_and_hashes_are_refused(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        DialogueConfig(providers=("cornell",), **{**DIALOGUE, **change})


def test_technical_needs_a_site():
    with pytest.raises(ValueError, match="stackexchange_sites is empty"):
        TechnicalConfig(providers=("docs",), stackexchange_sites=(), docs_sha256=None, **TECHNICAL)


def test_every_provider_is_offered_by_its_source(tmp_path):
    http = HttpConfig(timeout_s=1.0, retries=0, backoff_s=0.0)
    dialogue = DialogueConfig(providers=("cornell", "chitchat"), **DIALOGUE)
    hub = {"huggingface_location": "a/b", "huggingface_config": "pair", "huggingface_revision": "main"}
    eli5 = Eli5Config(providers=("huggingface", "curated"), fallback=False, limit=9, **hub)
    sites = {"stackexchange_sites": ("ai",), "docs_sha256": None}
    technical = TechnicalConfig(providers=("stackexchange", "docs+curated"), **TECHNICAL, **sites)
    assert list(dialogue_providers(dialogue, http)) == ["cornell", "chitchat"]
    assert list(eli5_providers(eli5, tmp_path)) == ["huggingface", "curated"]
    assert list(technical_providers(technical, tmp_path)) == ["stackexchange", "docs", "curated"]
