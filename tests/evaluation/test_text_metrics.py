import json
import math
import subprocess
import sys

import pytest

from llm.evaluation.text_metrics import copied, corpus_bleu, corpus_chrf, distinct, length_ratio, spans_of
from llm.judge.overlap import best_f1, repeated_ngrams
from tests.plain_texts import write_lines

LONG = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen"


@pytest.mark.parametrize("score", [corpus_bleu, corpus_chrf])
def test_nothing_generated_scores_zero(score):
    assert score([], [], 100).score == 0.0
    assert score(["", ""], [["a b"], ["c"]], 100).score == 0.0


@pytest.mark.parametrize("score", [corpus_bleu, corpus_chrf])
def test_the_references_themselves_score_a_hundred(score):
    texts = ["the cat sat on the mat", "it was a dark and stormy night"]
    found = score(texts, [[text] for text in texts], 100)
    assert found.score == pytest.approx(100.0)
    assert (found.low, found.high) == (pytest.approx(100.0), pytest.approx(100.0))


@pytest.mark.parametrize(
    ("text", "tokenizer"),
    [
        ("我們在這裡學習語言模型GPT", "zh"),
        ("わたしたちはここで言葉をまなぶ", "char"),
        ("ภาษาไทยไม่มีช่องว่าง", "char"),
        ("한국어 문장은 띄어쓰기가 있다", "13a"),
        ("the name 中文 means Chinese", "13a"),
    ],
)
def test_bleu_finds_the_words_of_a_script_without_spaces_and_says_how(text, tokenizer):
    found = corpus_bleu([text], [[text]], 10)
    assert found.score == pytest.approx(100.0)
    assert f"|tok:{tokenizer}|" in found.signature


def test_a_reported_line_without_spaces_scores_a_hundred_with_itself(real_data):
    text = (real_data / "reports/R04-bleu-no-spaces/text.txt").read_text(encoding="utf-8").strip()
    assert corpus_bleu([text], [[text]], 10).score == pytest.approx(100.0)


def test_words_without_spaces_are_counted_like_words():
    assert distinct(["我是我你"], 1, budget=4) == 3 / 4
    assert best_f1("我是人", ["你是人"]) == pytest.approx(2 / 3)
    assert repeated_ngrams(["再說一次再說一次"], 4) == pytest.approx(1 / 5)
    assert copied(["他說我們在這裡學習語言模型啊"], spans_of(["我們在這裡學習語言模型啊是的"])) == [
        False
    ]  # 12 characters
    assert copied(["他說我們在這裡學習語言模型啊"], spans_of(["說我們在這裡學習語言模型啊是"])) == [True]


def test_bleu_of_texts_without_4grams_is_zero():
    assert corpus_bleu(["a b c", "d e f"], [["a b c"], ["d e f"]], 100).score == 0.0


def test_bleu_is_counted_over_the_corpus_not_averaged():
    texts, references = ["a b c d e", "a b x y z"], [["a b c d e"], ["a b c d e"]]
    # n-gram matches 5+2, 4+1, 3+0, 2+0 of 10, 8, 6, 4; equal lengths: no brevity penalty
    expected = 100 * math.exp(sum(map(math.log, (7 / 10, 5 / 8, 3 / 6, 2 / 4))) / 4)
    averaged = sum(corpus_bleu([t], [r], 100).score for t, r in zip(texts, references, strict=True)) / 2
    assert corpus_bleu(texts, references, 100).score == pytest.approx(expected)
    assert averaged != pytest.approx(expected, rel=0.01)


def test_one_of_several_references_is_enough():
    texts = ["the cat sat on the mat", "it was a dark and stormy night"]
    references = [["something else entirely here", texts[0]], [texts[1]]]
    found = corpus_bleu(texts, references, 100)
    assert found.score == pytest.approx(100.0)
    assert "nrefs:var" in found.signature


def test_scores_carry_their_signatures():
    texts = ["the cat sat on the mat", "a dog"]
    bleu, chrf = (score(texts, [["the cat"], ["the dog"]], 100) for score in (corpus_bleu, corpus_chrf))
    assert bleu.signature.startswith("nrefs:1|bs:100|seed:12345|case:mixed|eff:no|tok:13a|smooth:exp|version:")
    assert "|nc:6|nw:2|" in chrf.signature
    assert chrf.low <= chrf.score <= chrf.high


def test_the_command_line_of_sacrebleu_gives_the_same_scores(tmp_path):
    texts = ["The cat sat on the mat, didn't it?", "", "3.5 apples – naïve\ncafé.", "It is well-known that it is."]
    references = [
        "The cat sat on a mat.",
        "Nothing.",
        "3.5 apples in a\nnaïve café.",
        "It is a well-known thing, it is.",
    ]
    for name, lines in (("replies", texts), ("references", references)):
        write_lines(tmp_path / name, lines)
    command = [sys.executable, "-m", "sacrebleu", "references", "-i", "replies", "-m", "bleu", "chrf"]
    done = subprocess.run(
        [*command, "--chrf-word-order", "2", "-w", "12"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    theirs = json.loads(done.stdout)
    for score, found in zip((corpus_bleu, corpus_chrf), theirs, strict=True):
        ours = score(texts, [[reference] for reference in references], n_resamples=10)
        assert 0 < ours.score == pytest.approx(found["score"], abs=1e-9)
        assert set(found["signature"].split("|")) <= set(ours.signature.split("|"))


def test_distinct_is_measured_at_one_length_for_all():
    assert distinct(["a b a b"], 1, budget=4) == 2 / 4
    assert distinct(["a b a b", "c d e"], 1, budget=4) == 2 / 4
    assert distinct(["a b"], 1, budget=4) is None


def test_distinct_bigrams_do_not_cross_texts():
    assert distinct(["a b", "b c", "a b"], 2, budget=6) == 2 / 3


def test_length_ratio_is_of_all_words_together():
    assert length_ratio(["a b", "c"], [["a b c d"], ["e f", "e f g h"]]) == 3 / (4 + 3)
    assert length_ratio(["a"], [[""]]) is None


def test_a_copy_needs_thirteen_words_in_a_row():
    words = LONG.split()
    texts = [LONG, "But " + ", ".join(words[1:]).upper(), " ".join(words[:12]) + " thirty", ""]
    assert copied(texts, spans_of([LONG])) == [True, True, False, False]


def test_a_copied_span_lies_within_one_training_text():
    halves = [" ".join(LONG.split()[:7]), " ".join(LONG.split()[7:])]
    assert copied([LONG], spans_of(halves)) == [False]


def test_chrf_has_no_interval_where_a_resample_of_texts_shares_nothing_with_its_references():
    score = corpus_chrf(["abc", "xyz"], [["abc"], ["123"]], n_resamples=50)
    assert 0 < score.score < 100
    assert (score.low, score.high) == (None, None)
