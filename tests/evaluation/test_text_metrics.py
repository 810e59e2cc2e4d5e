import json
import math
import subprocess
import sys

import pytest

from llm.evaluation.text_metrics import CORPUS_MEASURES, copied, corpus_score, distinct, length_ratio, spans_of
from llm.judge.overlap import best_f1, repeated_ngrams
from llm.stats.bootstrap import difference, draw_groups
from llm.stats.verdict import bootstrap_p
from tests.plain_texts import write_lines

LONG = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen"


REFERENCES = [f"the model number {i} reads all of the text and learns what word comes next" for i in range(12)]
NEAR = [text.replace("learns" if i % 3 else "number", "guesses") for i, text in enumerate(REFERENCES)]


def score(measure, texts, references, groups=None, n_resamples=100):
    """The score, texts of one group resampled together; by default each is a group of its own."""
    names = [str(i) for i in range(len(texts))] if groups is None else groups
    return corpus_score(measure, texts, references, draw_groups(names, ["s"] * len(texts), n_resamples, seed=1))


def bleu(texts, references):
    return score("bleu", texts, references).estimate.value


@pytest.mark.parametrize("measure", CORPUS_MEASURES)
def test_empty_texts_score_zero(measure):
    assert score(measure, ["", ""], [["a b"], ["c"]]).estimate.value == 0.0


@pytest.mark.parametrize("measure", CORPUS_MEASURES)
def test_the_references_themselves_score_a_hundred(measure):
    texts = ["the cat sat on the mat", "it was a dark and stormy night"]
    found = score(measure, texts, [[text] for text in texts]).estimate
    assert (found.value, found.low, found.high) == pytest.approx((100.0, 100.0, 100.0))


@pytest.mark.parametrize("measure", CORPUS_MEASURES)
def test_groups_are_drawn_whole(measure):
    references = [[text] for text in REFERENCES]
    one_group = score(measure, NEAR, references, ["g"] * 12).estimate
    assert one_group.low == one_group.high == pytest.approx(one_group.value)
    several = score(measure, NEAR, references, [str(i // 2) for i in range(12)]).estimate
    assert several.low < several.value < several.high


@pytest.mark.parametrize("measure", CORPUS_MEASURES)
def test_the_p_value_counts_groups_like_the_interval(measure):
    """20 texts in each of 6 groups: one side has the better texts in 4 groups. That is little evidence, whatever n is.

    Texts drawn one by one, as sacrebleu's own paired test draws them, make p very small: 80 against 40 texts.
    """
    references = [[text] for text in REFERENCES[:6] for _ in range(20)]
    wrong = [text.replace("learns", "guesses") for text in REFERENCES[:6] for _ in range(20)]
    right, half = [one for (one,) in references], [i // 20 < 4 for i in range(120)]
    a = [good if first else bad for first, good, bad in zip(half, right, wrong, strict=True)]
    b = [bad if first else good for first, good, bad in zip(half, right, wrong, strict=True)]
    of_groups, of_texts = (
        difference(*(score(measure, side, references, groups, 1000).estimate for side in (a, b)))
        for groups in ([str(i // 20) for i in range(120)], None)
    )
    assert of_groups.low < 0 < of_groups.high and bootstrap_p(of_groups.resampled) > 0.1
    assert of_texts.low > 0 and bootstrap_p(of_texts.resampled) < 0.01


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
    found = score("bleu", [text], [[text]])
    assert found.estimate.value == pytest.approx(100.0)
    assert f"|tok:{tokenizer}|" in found.signature


def test_a_reported_line_without_spaces_scores_a_hundred_with_itself(real_data):
    text = (real_data / "reports/R04-bleu-no-spaces/text.txt").read_text(encoding="utf-8").strip()
    assert bleu([text], [[text]]) == pytest.approx(100.0)


def test_words_without_spaces_are_counted_like_words():
    assert distinct(["我是我你"], 1, budget=4) == 3 / 4
    assert best_f1("我是人", ["你是人"]) == pytest.approx(2 / 3)
    assert repeated_ngrams(["再說一次再說一次"], 4) == pytest.approx(1 / 5)
    assert copied(["他說我們在這裡學習語言模型啊"], spans_of(["我們在這裡學習語言模型啊是的"])) == [
        False
    ]  # 12 characters
    assert copied(["他說我們在這裡學習語言模型啊"], spans_of(["說我們在這裡學習語言模型啊是"])) == [True]


def test_bleu_of_texts_without_4grams_is_zero():
    assert bleu(["a b c", "d e f"], [["a b c"], ["d e f"]]) == 0.0


def test_bleu_is_counted_over_the_corpus_not_averaged():
    texts, references = ["a b c d e", "a b x y z"], [["a b c d e"], ["a b c d e"]]
    # n-gram matches 5+2, 4+1, 3+0, 2+0 of 10, 8, 6, 4; equal lengths: no brevity penalty
    expected = 100 * math.exp(sum(map(math.log, (7 / 10, 5 / 8, 3 / 6, 2 / 4))) / 4)
    averaged = sum(bleu([t], [r]) for t, r in zip(texts, references, strict=True)) / 2
    assert bleu(texts, references) == pytest.approx(expected)
    assert averaged != pytest.approx(expected, rel=0.01)


def test_one_of_several_references_is_enough():
    texts = ["the cat sat on the mat", "it was a dark and stormy night"]
    references = [["something else entirely here", texts[0]], [texts[1]]]
    found = score("bleu", texts, references)
    assert found.estimate.value == pytest.approx(100.0)
    assert "nrefs:var" in found.signature


def test_scores_carry_their_signatures():
    texts = ["the cat sat on the mat", "a dog"]
    found = {measure: score(measure, texts, [["the cat"], ["the dog"]]).signature for measure in CORPUS_MEASURES}
    assert found["bleu"].startswith("nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:")
    assert "|nc:6|nw:2|" in found["chrf"]


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
    for measure, found in zip(CORPUS_MEASURES, theirs, strict=True):
        ours = score(measure, texts, [[reference] for reference in references])
        assert 0 < ours.estimate.value == pytest.approx(found["score"], abs=1e-9)
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


def test_a_resample_of_texts_that_share_nothing_with_their_references_counts_as_zero():
    found = score("chrf", ["abc", "xyz"], [["abc"], ["123"]]).estimate
    assert (found.low, found.high) == (0.0, pytest.approx(100.0))
