import math
from dataclasses import replace
from pathlib import Path

import pytest

from llm.corpus.questions import Question
from llm.evaluation.ask import Generations, Likelihoods, Outputs, ask_generations
from llm.evaluation.exposure import Planted
from llm.evaluation.measure import (
    TEXT_MEASURES,
    absent_figures,
    choice_tables,
    count_groups,
    empty_metrics,
    likelihood_figures,
    make_metric_inputs,
    measure,
    measure_unkept,
    text_figures,
)
from llm.evaluation.scoring import Score
from llm.evaluation.text_metrics import spans_of
from llm.judge.instrument import load_judge
from llm.judge.overlap import best_f1
from tests.evaluation.test_ask import CONFIG, EXAMPLES, ITEMS, TOKENIZER, ask, make_model

JUDGE = load_judge(Path(__file__).resolve().parents[2] / "data/judge")


def make_inputs(min_groups=2):
    return make_metric_inputs(ITEMS, {}, spans_of(["no copy"]), JUDGE, CONFIG, min_groups, seed=1)


def test_a_uniform_model_has_the_vocabulary_as_perplexity_and_no_right_choice():
    found = likelihood_figures(ask(make_model(zero_head=True)), make_inputs())
    assert found.metrics["ppl"]["all"] == pytest.approx(TOKENIZER.vocab_size, rel=1e-5)
    tokens = sum(len(TOKENIZER.encode(example.reply)) for example in EXAMPLES)
    n_bytes = sum(len(example.reply.encode()) for example in EXAMPLES)
    assert found.metrics["bpb"]["all"] == pytest.approx(tokens * math.log2(TOKENIZER.vocab_size) / n_bytes, rel=1e-5)


def test_a_small_source_has_a_value_and_no_interval():
    found = likelihood_figures(ask(make_model()), make_inputs(min_groups=4))  # eli5 has three
    assert found.detail["without_interval"] == ["eli5", "macro"]
    for name in ("eli5", "macro"):
        assert found.detail["bpb"][name]["value"] > 0
        assert found.detail["bpb"][name]["low"] is None
    assert found.detail["bpb"]["dialogue"]["low"] < found.detail["bpb"]["dialogue"]["high"]
    assert found.detail["bpb"]["all"]["low"] is not None


def test_windows_and_cut_histories_are_counted():
    scores = [Score(-1.0, -1.0, 2, n_windows=2, n_cut=7)] + [Score(-1.0, -1.0, 2)] * (len(EXAMPLES) - 1)
    found = likelihood_figures(Likelihoods(scores, {"choice": [Score(-1.0, -1.0, 1)] * 12}), make_inputs())
    assert found.detail["windows"] == {"replies_in_several": 1, "history_tokens_cut": 7}


def test_a_model_without_tokens_has_no_perplexity_and_one_that_was_not_asked_no_choice():
    found = likelihood_figures(Likelihoods([Score(-1.0, 0.0, 0)] * len(EXAMPLES), {}), make_inputs())
    assert found.metrics["bpb"]["all"] > 0
    assert set(found.metrics["ppl"].values()) == set(found.metrics["choice"].values()) == {None}
    assert found.detail["ppl"] == found.detail["choice"] == {}
    empty = empty_metrics(ITEMS)
    assert {k: set(v) for k, v in found.metrics.items()} == {k: set(empty[k]) for k in found.metrics}


def test_truthfulqa_is_graded_apart_from_the_quiz():
    two = [
        Question("truthfulqa/1", "Myths", "why?", ("no", "never"), ("yes", "of course")),
        Question("truthfulqa/2", "Laws", "who?", ("nobody",), ("you",)),
    ]
    inputs = replace(make_inputs(), items=replace(ITEMS, truthfulqa=two))
    quiz = [Score(-1.0, -1.0, 1), Score(-2.0, -1.0, 1), Score(-2.0, -1.0, 1)] * 4  # all right
    # e^x of the answers 4, 2, 3, 1 tenths: the best one wins, and the correct ones hold 6 of 10; then 1 against 3
    told = [Score(math.log(x / 10), -1.0, 1) for x in (4, 2, 3, 1, 1, 3)]
    likely = Likelihoods([Score(-1.0, -1.0, 2)] * len(EXAMPLES), {"choice": quiz, "truthfulqa": told})
    found = likelihood_figures(likely, inputs)
    assert found.metrics["choice"]["mc1"] == 1.0
    assert found.metrics["truthfulqa"] == {
        "mc1": 0.5,  # ln .4 beats ln .3 and ln .1; ln .1 does not beat ln .3
        "mc1_per_byte": 0.5,  # ln .4 / 2 = -.46 does not beat ln .1 / 9 = -.26; ln .1 / 6 = -.38 beats ln .3 / 3 = -.40
        "mc2": pytest.approx((0.6 + 0.25) / 2),
        "chance": pytest.approx((1 / 3 + 1 / 2) / 2),
    }
    assert found.detail["truthfulqa"]["Laws"]["mc1"] == {"value": 0.0, "low": None, "high": None}  # one question


def test_truthfulqa_s_categories_are_no_strata():
    """Of 60 questions, each a category of its own, half are right: 1.96 sqrt(.25 / 60) = .127 on either side."""
    many = [Question(f"truthfulqa/{i}", f"area{i}", f"{i}?", ("no",), ("yes",)) for i in range(60)]
    told = [Score(-1.0 if right else -3.0, -1.0, 1) for i in range(60) for right in (i % 2 == 0, i % 2 == 1)]
    likely = Likelihoods([], {"truthfulqa": told})
    found = choice_tables(replace(ITEMS, truthfulqa=many), likely, 2000, 1)["truthfulqa"]["all"]["mc1"]
    assert (found.value - found.low, found.high - found.value) == (pytest.approx(0.127, abs=0.015),) * 2


def test_the_real_replies_score_best():
    real = [example.reply for example in ITEMS.prompts]
    values, detail = text_figures(Generations(real, [], [], []), make_inputs())
    assert tuple(sorted(values)) == tuple(sorted(TEXT_MEASURES))
    assert (values["token_f1"], values["length_ratio"], values["copied"]) == (1.0, 1.0, 0.0)
    assert values["distinct_1"] is None  # fewer sampled words than the budget
    assert detail["bleu"]["signature"].startswith("nrefs:1|case")


def test_what_unrelated_texts_get_stands_beside_what_the_replies_get():
    """Of one source after the other: each reply is held to the next one's reference, the last to the first's."""
    real = [example.reply for example in ITEMS.prompts]
    _, detail = text_figures(Generations(real, [], [], []), make_inputs())
    order = sorted(range(len(real)), key=lambda i: ITEMS.prompts[i].source)
    others = {i: real[j] for i, j in zip(order, order[1:] + order[:1], strict=True)}
    expected = sum(best_f1(text, [others[i]]) for i, text in enumerate(real)) / len(real)
    assert detail["token_f1"]["unrelated"] == pytest.approx(expected)
    assert detail["chrf"]["unrelated"] < detail["chrf"]["value"] == pytest.approx(100.0)


def test_texts_of_a_single_group_have_no_interval():
    """Every resample of one group is that group: an interval of no width would look like certainty."""
    one = [replace(example, source="eli5", group="g") for example in ITEMS.prompts]
    inputs = make_metric_inputs(replace(ITEMS, prompts=one), {}, spans_of(["no copy"]), JUDGE, CONFIG, 2, seed=1)
    _, detail = text_figures(Generations(["text"] * len(one), [], [], []), inputs)
    for name in ("bleu", "chrf", "token_f1", "ended"):
        assert (detail[name]["low"], detail[name]["high"]) == (None, None)


def test_a_source_says_how_many_replies_and_groups_it_has():
    twice = [replace(example, group="g") for example in EXAMPLES[:2]] + EXAMPLES[2:]
    found = count_groups(twice)
    assert found["all"] == found["macro"] == {"n": len(EXAMPLES), "groups": len(EXAMPLES) - 1}
    assert found[EXAMPLES[0].source]["groups"] == found[EXAMPLES[0].source]["n"] - 1


def test_replies_that_were_cut_are_counted():
    n = len(ITEMS.prompts)
    ended = [i > 0 for i in range(n)]
    values, detail = text_figures(Generations(["text"] * n, [], [], [], ended={"greedy": ended}), make_inputs())
    assert values["ended"] == detail["ended"]["value"] == (n - 1) / n
    assert detail["lengths"] == {"n": n, "groups": n, "cut": 1}


def test_the_drawn_replies_say_how_many_ended_and_repeat_whichever_prompts_they_answer():
    n, loop = len(ITEMS.prompts), "so it goes on so it goes on"  # of five 4-grams one again
    ended = {"sampled": [True], "shown_sampled": [False, True]}
    texts = Generations(["text"] * n, [loop], [], [], ended=ended, shown_sampled=["no", "a b c d e f g h"])
    drawn = text_figures(texts, make_inputs())[1]["drawn"]
    assert drawn == {"n": 3, "ended": pytest.approx(2 / 3), "repeated_4grams": pytest.approx(1 / 10)}
    none = text_figures(Generations(["text"] * n, [], [], []), make_inputs())[1]["drawn"]
    assert none == {"n": 0, "ended": None, "repeated_4grams": None}


def test_a_model_that_is_not_there_has_the_same_names_and_no_number():
    model = make_model()
    generations = ask_generations(model, ITEMS, CONFIG.sampled, CONFIG.drawn("scratch", 1), lambda n: None)
    outputs, planted = Outputs(ITEMS, ask(model), generations), Planted([], [])
    there = measure(outputs, make_inputs()) | measure_unkept(outputs, planted, make_inputs())
    absent = absent_figures(ITEMS, "not trained")
    assert absent.detail == {"enabled": False, "reason": "not trained"}
    assert absent.metrics.pop("enabled") is False
    assert {section: set(rows) for section, rows in absent.metrics.items()} == {
        section: set(rows) for section, rows in there.metrics.items()
    }
    assert all(value is None for rows in absent.metrics.values() for value in rows.values())


def test_a_model_that_only_replies_has_the_same_names_and_no_likelihood():
    replies = Generations([example.reply for example in ITEMS.prompts], [], ["text", "text"], [])
    found = measure(Outputs(ITEMS, None, replies), make_inputs()).metrics
    assert {section: set(rows) for section, rows in found.items()} == {
        section: set(rows) for section, rows in empty_metrics(ITEMS).items()
    }
    assert set(found["bpb"].values()) == set(found["choice"].values()) == {None}
    assert found["text"]["token_f1"] == 1.0


def test_an_area_of_few_couples_has_no_interval_however_many_pairs_they_are():
    pairs = [Question(f"p{i}", "works", "", (f"a {i}",), (f"b {i}",), couple=f"p{i - i % 2}") for i in range(4)]
    inputs = replace(make_inputs(min_groups=3), items=replace(ITEMS, pairs=pairs))
    told = [Score(x, -1.0, 1) for i in range(4) for x in (-1.0, -2.0 + 2 * (i // 2))]
    found = likelihood_figures(Likelihoods([Score(-1.0, -1.0, 2)] * len(EXAMPLES), {"literacy": told}), inputs)
    assert found.detail["literacy"]["works"]["accuracy"] == {"value": 0.5, "low": None, "high": None}
