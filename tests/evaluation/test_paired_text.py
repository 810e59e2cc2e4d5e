import pytest

from llm.evaluation.paired_text import corpus_estimate, paired_p
from llm.evaluation.text_metrics import corpus_bleu, corpus_chrf
from llm.stats.bootstrap import draw_groups

REFERENCES = [f"the model number {i} reads all of the text and learns what word comes next" for i in range(12)]
NEAR = [text.replace("learns" if i % 3 else "number", "guesses") for i, text in enumerate(REFERENCES)]
FAR = [text[::-1] for text in REFERENCES]
RESAMPLING = draw_groups([str(i // 2) for i in range(12)], ["s"] * 12, 200, seed=1)


@pytest.mark.parametrize(("measure", "score"), [("bleu", corpus_bleu), ("chrf", corpus_chrf)])
def test_the_value_is_that_of_the_metrics_file(measure, score):
    found = corpus_estimate(measure, NEAR, REFERENCES, RESAMPLING)
    assert found.value == pytest.approx(score(NEAR, [[text] for text in REFERENCES], 100).score, abs=1e-9)
    assert found.low <= found.value <= found.high
    assert found.low < found.high


def test_groups_are_drawn_whole():
    one_group = draw_groups(["g"] * 12, ["s"] * 12, 50, seed=1)
    found = corpus_estimate("bleu", NEAR, REFERENCES, one_group)
    assert found.low == found.high == pytest.approx(found.value)


@pytest.mark.parametrize("measure", ["bleu", "chrf"])
def test_the_test_tells_near_from_far(measure):
    assert paired_p(measure, NEAR, FAR, REFERENCES, 200) < 0.05
    assert paired_p(measure, NEAR, NEAR, REFERENCES, 200) == 1.0
    assert paired_p("bleu", ["?"] * 12, [""] * 12, REFERENCES, 200) == 1.0  # 0 and 0
