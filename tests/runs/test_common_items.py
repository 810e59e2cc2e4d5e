from dataclasses import replace

import pytest

from llm.evaluation.ask import Generations, Outputs
from llm.runs.common_items import count_shared, drop_repeated, find_common, restrict
from tests.measured_runs import ITEMS, N_BYTES, that_says, with_bpb

REPLIES = [f"reply {i}" for i in range(len(ITEMS.prompts))]


def test_equal_runs_share_everything():
    shared, left_out = find_common([that_says(REPLIES), that_says(REPLIES)])
    assert shared == ITEMS
    assert set(left_out.values()) == {0}


def test_items_that_only_some_have_are_left_out_and_counted():
    one = that_says(REPLIES)
    changed = replace(ITEMS.examples[0], reply="another text of the same id")
    other = Outputs(
        replace(ITEMS, examples=[changed, *ITEMS.examples[1:]], quiz=ITEMS.quiz[2:]), one.likelihoods, one.generations
    )
    shared, left_out = find_common([one, other])
    assert shared.examples == ITEMS.examples[1:]
    assert shared.quiz == ITEMS.quiz[2:]
    assert left_out == {"replies": 2, "prompts": 0, "pairs": 0, "premises": 0, "quiz": 2, "truth": 0, "truthfulqa": 0}


def test_what_a_run_does_not_measure_is_not_missed():
    shared, left_out = find_common([that_says(REPLIES), with_bpb([2.0] * len(N_BYTES))])
    asked = {"pairs": 0, "premises": 0, "quiz": 40, "truthfulqa": 0}
    assert count_shared(shared) == {"replies": 120, "prompts": 0, "truth": 0} | asked
    assert set(left_out.values()) == {0}


def test_a_run_cut_down_keeps_each_item_s_own_values():
    run = with_bpb([float(i) for i in range(len(N_BYTES))], right=[i % 2 == 0 for i in range(40)])
    run = Outputs(run.items, run.likelihoods, Generations(REPLIES, [], [str(i) for i in range(20)], []))
    shared = replace(
        ITEMS, examples=ITEMS.examples[::-7], prompts=ITEMS.prompts[3:5], quiz=ITEMS.quiz[5:7], truth=ITEMS.truth[:1]
    )
    cut = restrict(run, shared)
    assert cut.likelihoods.replies == run.likelihoods.replies[::-7]
    assert cut.likelihoods.answers == {"choice": run.likelihoods.answers["choice"][15:21]}
    assert (cut.generations.greedy, cut.generations.truth) == (REPLIES[3:5], ["0"])


def test_equal_runs_count_once():
    a, b = that_says(REPLIES), that_says(REPLIES[::-1])
    assert drop_repeated([a, b, a, b]) == [a, b]


@pytest.mark.parametrize("change", [{"question": "?"}, {"correct": ("so",)}, {"incorrect": ("no", "so")}])
def test_a_question_of_the_same_id_but_other_texts_is_another_item(change):
    one = that_says(REPLIES)
    quiz, truth = ([replace(asked[0], **change), *asked[1:]] for asked in (ITEMS.quiz, ITEMS.truth))
    other = Outputs(replace(ITEMS, quiz=quiz, truth=truth), one.likelihoods, one.generations)
    shared, left_out = find_common([one, other])
    assert (shared.quiz, shared.truth) == (ITEMS.quiz[1:], ITEMS.truth[1:])
    assert (left_out["quiz"], left_out["truth"]) == (2, 2)
