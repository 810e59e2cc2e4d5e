"""Stack Exchange threads from files of exactly the hub's form."""

import pytest
from datasets import Dataset, Features, List, Value

from llm.sources.stackexchange import best_answer, read_stackexchange

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


PLAIN = [answer(1, 3, False, "<p>Because.</p>"), answer(2, 1, False, "<p>So.</p>")]


def test_a_thread_becomes_a_dialogue_with_its_own_group(tmp_path):
    code = "<p>How do I use <code>fit</code>?</p><pre><code>m.fit(X,\n      y)\n</code></pre>"
    path = write_rows(tmp_path / "a.parquet", [row(7, "stats.stackexchange.com", PLAIN, code)])
    corpus = read_stackexchange(path, "main", ["stats"], 10)
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
    corpus = read_stackexchange(write_rows(tmp_path / "a.parquet", rows), "main", ["ai", "stats"], 10)
    assert [dialogue.id for dialogue in corpus.dialogues] == ["stackexchange-ai-4"]
    assert corpus.counts == {"rows": 4, "rows_of_other_sites": 1, "rows_without_text": 2}


def test_a_site_may_be_named_in_full(tmp_path):
    path = write_rows(tmp_path / "a.parquet", [row(1, "mathoverflow.net", PLAIN)])
    assert len(read_stackexchange(path, "main", ["mathoverflow.net"], 10).dialogues) == 1


def test_no_more_than_the_limit_is_read(tmp_path):
    path = write_rows(tmp_path / "a.parquet", [row(i, "ai.stackexchange.com", PLAIN) for i in range(5)])
    assert read_stackexchange(path, "main", ["ai"], 2).counts["rows"] == 2


def test_a_thread_of_ill_formed_markup_is_left_out_and_counted(tmp_path):
    stats = "stats.stackexchange.com"
    rows = [row(1, stats, PLAIN), row(2, stats, PLAIN, "<p>see <![foo[ x ]]> y</p>"), row(3, stats, PLAIN)]
    corpus = read_stackexchange(write_rows(tmp_path / "a.parquet", rows), "main", ["stats"], 10)
    assert [dialogue.id for dialogue in corpus.dialogues] == ["stackexchange-stats-1", "stackexchange-stats-3"]
    assert corpus.counts["rows_without_text"] == 1


def test_the_reported_ill_formed_thread_is_left_out_and_counted(real_data):
    path = real_data / "reports" / "18-ill-formed-markup" / "se.jsonl"
    corpus = read_stackexchange(str(path), "main", ["ai"], 10)
    assert (len(corpus.dialogues), corpus.counts["rows_without_text"]) == (4, 1)
