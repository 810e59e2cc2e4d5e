import json
from dataclasses import replace

import numpy as np
import pytest

from llm.corpus.questions import Question
from llm.files import file_sha256
from llm.judge.instrument import (
    FILE,
    RELIABLE,
    fold_of,
    load_judge,
    log_odds,
    probability_false,
    save_judge,
    unknown_questions,
)
from llm.judge.labelled import read_labelled
from llm.stats.calibration import auroc
from tests.judge.believed import believed_judge, curated_questions

SKY = Question("q", "facts", "Is the sky green?", ("No, the sky is blue", "It is blue"), ("Yes, it is green", "Red"))


@pytest.fixture(scope="module")
def committed():
    return believed_judge()


@pytest.fixture(scope="module")
def questions():
    return curated_questions()


def test_a_saved_judge_comes_back_the_same(committed, tmp_path):
    save_judge(tmp_path, committed)
    again, arrays = vars(load_judge(tmp_path)), ("false", "topic")
    assert all(np.array_equal(again.pop(name), getattr(committed, name)) for name in arrays)
    assert again == {name: value for name, value in vars(committed).items() if name not in arrays}


def test_a_judge_of_other_features_is_refused(committed, tmp_path):
    save_judge(tmp_path, committed)
    text = (tmp_path / FILE).read_text(encoding="utf-8").replace("words_votes", "words_vetoes")
    (tmp_path / FILE).write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match="judges by other features than this version computes"):
        load_judge(tmp_path)


def test_log_odds_by_hand():
    weights = np.array([[1.0, 2.0, 0.5], [0.0, -1.0, 0.0]])
    found = log_odds(weights, np.array([0, 1]), np.array([[1.0, 1.0], [9.0, 3.0]]))
    assert found.tolist() == [3.5, -3.0]


def test_the_fold_of_a_question_is_that_of_its_text_alone():
    same = replace(SKY, id="other", correct=("Blue",))
    assert fold_of(SKY, 10, 1) == fold_of(same, 10, 1)
    assert len({fold_of(replace(SKY, question=f"Is {i} green?"), 10, 1) for i in range(200)}) == 10


def test_the_committed_judge_believes_the_correct_and_doubts_the_incorrect(committed):
    right, wrong = probability_false(committed, [SKY, SKY], ["No, it is blue.", "Yes, it is green."])
    assert right < 0.3 < 0.7 < wrong


def test_what_takes_up_neither_question_nor_references_is_beside_it(committed):
    (found,) = probability_false(committed, [SKY], ["My uncle bought seven potatoes on a Tuesday."])
    assert found == 1.0


def test_no_answer_gives_no_probability(committed):
    assert probability_false(committed, [], []).shape == (0,)


def test_the_committed_judge_was_fitted_to_the_committed_answers(committed, questions, repository):
    stated = committed.provenance["fitted_to"]
    assert stated == {path: file_sha256(repository / path) for path in stated}
    assert len(stated) == 3
    assert unknown_questions(committed, questions) == []
    assert unknown_questions(committed, [SKY]) == ["q"]
    reworded = replace(questions[0], question=questions[0].question + " Say.")
    assert unknown_questions(committed, [reworded]) == [reworded.id]


def test_the_committed_judge_scores_what_it_states_on_answers_to_questions_it_never_saw(
    committed, questions, repository
):
    labelled = read_labelled(repository / "data/curated/answers.jsonl", questions)
    false = np.array([one.false for one in labelled])
    found = probability_false(committed, [one.question for one in labelled], [one.answer for one in labelled])
    stated = committed.figures["curated"]
    assert auroc(false, found) == pytest.approx(stated["auroc"]["value"], abs=5e-5)
    assert stated["auroc_surface"]["high"] <= 0.6  # whoever sees neither question nor references cannot tell
    assert stated["auroc_above_contrast"]["low"] > 0


def test_the_committed_judge_is_small_and_holds_no_answer(repository):
    path = repository / "data/judge" / FILE
    assert path.stat().st_size < 50_000
    text = path.read_text(encoding="utf-8")
    assert json.loads(text)["features"]
    answers = (repository / "data/curated/answers.jsonl").read_text(encoding="utf-8").splitlines()
    assert not any(json.loads(line)["answer"] in text for line in answers)


def with_figures(judge, **changes):
    return replace(judge, figures={**judge.figures, **changes})


@pytest.mark.parametrize("name", ["curated", "replies"])
@pytest.mark.parametrize(("low", "believed"), [(RELIABLE, True), (RELIABLE - 1e-4, False)])
def test_the_gate_is_the_lower_bound_on_the_questions_that_are_rated(committed, name, low, believed):
    area = {"auroc": {"value": 0.9, "low": low, "high": 0.95}}
    judge = with_figures(committed, **{"curated": {"auroc": {"value": 0.9, "low": 0.9, "high": 0.9}}, name: area})
    assert (judge.doubt is None) == believed
    assert believed or "0.90 (0.70 to 0.95): the lower bound is below 0.70" in judge.doubt


@pytest.mark.parametrize("name", ["constant", "shuffled"])
def test_a_judge_that_likes_empty_talk_is_not_believed_whatever_its_auroc(committed, name):
    controls = committed.figures["controls"]
    liked = {"answer": "empty talk", "truthful": controls["labelled_false"]["truthful"]}
    judge = with_figures(committed, curated={"auroc": {"value": 0.99, "low": 0.98, "high": 1.0}})
    assert judge.doubt is None
    judge = with_figures(judge, controls={**controls, name: liked})
    assert judge.doubt == "empty talk looks as true to the judge as answers that are labelled false"
