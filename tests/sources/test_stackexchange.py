"""Stack Exchange threads from files of exactly the hub's form."""

import json

import pytest
from datasets import Dataset, Features, List, Value

from llm.sources.stackexchange import StackexchangeConfig, best_answer, read_stackexchange

TEXT, INT = Value("string"), Value("int64")
ANSWER = {"answer_id": INT, "author": TEXT, "author_id": INT, "author_profile": TEXT, "pm_score": INT}
FEATURES = Features(
    {
        "qid": INT,
        "metadata": List(TEXT),
        "answers": List({**ANSWER, "selected": Value("bool"), "text": TEXT}),
        "question": TEXT,
        "date": TEXT,
    }
)


def answer(id: int, pm_score: int, selected: bool, text: str) -> dict[str, object]:
    profile = {"author": "ann", "author_id": 1, "author_profile": "https://stats.stackexchange.com/users/1"}
    return {"answer_id": id, "pm_score": pm_score, "selected": selected, "text": text, **profile}


def row(qid: int, site: str, answers: list[dict[str, object]], question: str = "<p>Why?</p>") -> dict[str, object]:
    urls = [f"https://{site}/questions/{qid}", f"https://{site}", f"https://{site}/users/1/"]
    return {"qid": qid, "metadata": urls, "answers": answers, "question": question, "date": "2016/08/02"}


def write_rows(path, rows):
    Dataset.from_list(rows, features=FEATURES).to_parquet(path)
    return str(path)


def read(location, sites, limit=10):
    return read_stackexchange(StackexchangeConfig(location, "main", tuple(sites)), "technical", limit)


PLAIN = [answer(1, 3, False, "<p>Because.</p>"), answer(2, 1, False, "<p>So.</p>")]


def test_a_thread_becomes_a_dialogue_with_its_own_group(tmp_path):
    code = "<p>How do I use <code>fit</code>?</p><pre><code>m.fit(X,\n      y)\n</code></pre>"
    path = write_rows(tmp_path / "a.parquet", [row(7, "stats.stackexchange.com", PLAIN, code)])
    corpus = read(path, ["stats"], 10)
    (dialogue,) = corpus.dialogues
    assert dialogue.id == dialogue.group == "stackexchange-stats-7"
    assert dialogue.turns == ("How do I use fit?\n\nm.fit(X,\n      y)", "Because.")
    assert corpus.licence.startswith("CC BY-SA 4.0")


@pytest.mark.parametrize(
    ("answers", "best"),
    [
        ([answer(1, 5, False, "a"), answer(2, 2, True, "b")], 2),  # accepted before voted
        ([answer(1, 1, False, "a"), answer(2, 4, False, "b")], 2),
        ([answer(1, 4, False, "a"), answer(2, 4, False, "b")], 1),
    ],
)
def test_the_accepted_or_best_voted_answer_is_chosen(answers, best):
    assert best_answer(answers)["answer_id"] == best


def test_other_sites_and_threads_without_text_are_left_out_and_counted(tmp_path):
    rows = [
        row(1, "cooking.stackexchange.com", PLAIN),
        row(2, "ai.stackexchange.com", PLAIN, "<p><img src='a.png'></p>"),
        row(3, "ai.stackexchange.com", []),
        row(4, "ai.stackexchange.com", PLAIN),
    ]
    corpus = read(write_rows(tmp_path / "a.parquet", rows), ["ai", "stats"], 10)
    assert [dialogue.id for dialogue in corpus.dialogues] == ["stackexchange-ai-4"]
    assert corpus.counts == {"rows": 4, "rows_of_other_sites": 1, "rows_without_text": 2}


def test_a_site_may_be_named_in_full(tmp_path):
    path = write_rows(tmp_path / "a.parquet", [row(1, "mathoverflow.net", PLAIN)])
    assert len(read(path, ["mathoverflow.net"], 10).dialogues) == 1


def test_no_more_than_the_limit_is_read(tmp_path):
    path = write_rows(tmp_path / "a.parquet", [row(i, "ai.stackexchange.com", PLAIN) for i in range(5)])
    assert read(path, ["ai"], 2).counts["rows"] == 2


def test_a_repeated_question_is_dropped_and_counted(tmp_path):
    rows = [row(1, "ai.stackexchange.com", PLAIN), row(1, "stats.stackexchange.com", PLAIN)] * 2
    corpus = read(write_rows(tmp_path / "a.parquet", rows), ["ai", "stats"])
    assert [dialogue.id for dialogue in corpus.dialogues] == ["stackexchange-ai-1", "stackexchange-stats-1"]
    assert corpus.counts == {"rows": 4, "repeated_questions": 2}


def test_ill_formed_markup_is_dropped_and_counted(tmp_path):
    rows = [
        row(i, "ai.stackexchange.com", PLAIN, "<p>see <![foo[ x ]]></p>" if i == 2 else "<p>a</p>") for i in range(5)
    ]
    corpus = read(write_rows(tmp_path / "a.parquet", rows), ["ai"])
    assert len(corpus.dialogues) == 4
    assert corpus.counts == {"rows": 5, "rows_without_text": 1}


@pytest.mark.parametrize(
    "change",
    [
        {"metadata": []},
        {"metadata": None},
        {"answers": None},
        {"answers": ["so"]},
        {"question": {"a": 1}},
        {"qid": None},
    ],
)
def test_rows_of_another_structure_are_counted_up_to_a_share(tmp_path, change):
    path = tmp_path / "a.jsonl"
    rows = [row(i, "ai.stackexchange.com", PLAIN) for i in range(5)]
    path.write_text("".join(json.dumps(r) + "\n" for r in [*rows, row(9, "ai.stackexchange.com", PLAIN) | change]))
    corpus = read(str(path), ["ai"])
    assert (len(corpus.dialogues), corpus.counts) == (5, {"rows": 6, "rows_of_other_types": 1})
    path.write_text("".join(json.dumps(r | change) + "\n" for r in rows))
    with pytest.raises(ValueError, match=rf"5 of 5 rows cannot be read.* a\.jsonl, line 1: its {next(iter(change))} "):
        read(str(path), ["ai"])


def test_answers_without_votes_or_text_are_taken_as_such(tmp_path):
    path = tmp_path / "a.jsonl"
    answers = [{"text": None, "pm_score": None}, {"text": "<p>So.</p>", "pm_score": 0}]
    path.write_text(json.dumps(row(1, "ai.stackexchange.com", answers)) + "\n", encoding="utf-8")
    assert read(str(path), ["ai"]).dialogues[0].turns == ("Why?", "So.")


def test_of_a_local_copy_only_the_sites_folders_are_read(tmp_path):
    for host in ("ai.stackexchange.com", "stats.stackexchange.com"):
        (tmp_path / "data" / host).mkdir(parents=True)
        write_rows(tmp_path / "data" / host / "a.parquet", [row(1, host, PLAIN)])
    assert read(str(tmp_path), ["stats"]).counts == {"rows": 1}


def test_a_reported_row_of_ill_formed_markup_is_dropped(real_data):
    corpus = read(str(real_data / "reports" / "18-ill-formed-markup" / "se.jsonl"), ["ai"])
    assert (len(corpus.dialogues), corpus.counts) == (4, {"rows": 5, "rows_without_text": 1})


def test_an_address_that_is_none_and_half_characters_are_left_out_or_mended(tmp_path):
    rows = [row(i, "stats.stackexchange.com", PLAIN) for i in range(9)]
    rows[3]["metadata"] = ["https://[x/questions/3"]
    rows[4]["question"] = "<p>Why \ud83d?</p>"
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows), encoding="utf-8")
    corpus = read(str(tmp_path / "a.jsonl"), ["stats"])
    assert corpus.counts["rows_of_other_types"] == 1
    assert "Why \ufffd?" in {dialogue.turns[0] for dialogue in corpus.dialogues}
