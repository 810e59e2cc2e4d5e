import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from llm.corpus.questions import Question
from llm.dialogue import Example
from llm.evaluation.evaluate import (
    TEXT_MEASURES,
    Likelihoods,
    Texts,
    ask_likelihoods,
    ask_texts,
    choice_tables,
    empty_metrics,
    likelihood_figures,
    make_yardstick,
    n_likelihoods,
    n_texts,
    rounded,
    text_figures,
)
from llm.evaluation.scoring import Score, ScratchModel
from llm.evaluation.testset import Asked, EvaluateConfig
from llm.evaluation.text_metrics import spans_of
from llm.judge.trees import load_judge
from llm.models.registry import build_model
from llm.models.shape import ModelConfig
from llm.tokens.tokenizer import TokenizerConfig, train_tokenizer

TEXT = "what is a token a piece of text and why does a model learn from examples"
WORDS = TEXT.split()
TOKENIZER = train_tokenizer([TEXT] * 4, TokenizerConfig(vocab_size=280, min_frequency=2))
CONFIG = EvaluateConfig(
    dialogues=None, max_replies=None, history_chars=200, generations=4, sampled=2, temperature=0.8, top_p=0.95,
    max_new_tokens=6, truth_questions=2, truthfulqa_questions=None, batch_tokens=128, bootstrap=100,
)  # fmt: skip
QUIZ = [Question(f"q{i}", f"area{i % 2}", f"why {WORDS[i]}?", (WORDS[i],), ("text of", "learn")) for i in range(4)]


def make_examples(source, n):
    return [
        Example(f"{source}{i}/1", source, f"{source}{i}", (" ".join(WORDS[i % 9 :]),), " ".join(WORDS[: 1 + i % 7]))
        for i in range(n)
    ]


EXAMPLES = make_examples("dialogue", 5) + make_examples("eli5", 3)
JUDGE = load_judge(Path(__file__).resolve().parents[2] / "data/judge")
ASKED = Asked(EXAMPLES, EXAMPLES[:2] + EXAMPLES[-2:], QUIZ, QUIZ[:2], [])


def make_stick(min_dialogues=2):
    return make_yardstick(ASKED, spans_of(["no copy"]), JUDGE, CONFIG, min_dialogues, seed=1)


def make_model(zero_head=False):
    shape = ModelConfig("gpt2", 2, 2, 16, 64, dropout=0.0, attn_dropout=0.0)
    gpt = build_model(shape, TOKENIZER.vocab_size, generator=None)
    if zero_head:
        gpt.head.data.zero_()
    return ScratchModel("scratch", gpt, TOKENIZER, batch_tokens=128)


def ask(model):
    return ask_likelihoods(model, ASKED, lambda n: None)


def test_a_uniform_model_has_the_vocabulary_as_perplexity_and_no_right_choice():
    found = likelihood_figures(ask(make_model(zero_head=True)), make_stick())
    assert found.metrics["ppl"]["all"] == pytest.approx(TOKENIZER.vocab_size, rel=1e-5)
    tokens = sum(len(TOKENIZER.encode(example.reply)) for example in EXAMPLES)
    n_bytes = sum(len(example.reply.encode()) for example in EXAMPLES)
    assert found.metrics["bpb"]["all"] == pytest.approx(tokens * math.log2(TOKENIZER.vocab_size) / n_bytes, rel=1e-5)


def test_scores_come_back_in_the_order_asked():
    model = make_model()
    found = ask(model)
    for example, score in zip(EXAMPLES, found.replies, strict=True):
        assert score.logprob == pytest.approx(model.loglik([example])[0].logprob, abs=1e-4)
    assert len(found.answers["choice"]) == 4 * 3


def test_the_progress_bar_reaches_its_end():
    done = []
    model = make_model()
    ask_likelihoods(model, ASKED, done.append)
    assert sum(done) == n_likelihoods(ASKED)
    ask_texts(model, ASKED, ["Hi"], CONFIG, 1, done.append)
    assert sum(done) == n_likelihoods(ASKED) + n_texts(ASKED, CONFIG, 1)


def test_each_text_answers_its_own_prompt():
    model = make_model()
    texts = ask_texts(model, ASKED, ["why a model?"], CONFIG, 1, lambda n: None)
    assert [len(texts.greedy), len(texts.sampled), len(texts.truth), len(texts.shown)] == [4, 2, 2, 1]
    assert texts.truth[1] == model.generate([(QUIZ[1].question,)], CONFIG.greedy(1))[0]
    assert texts.shown[0] == model.generate([("why a model?",)], CONFIG.greedy(1))[0]
    assert texts.sampled[1] == model.generate([ASKED.prompts[1].history], CONFIG.sampling(1))[0]


def test_a_small_source_has_a_value_and_no_interval():
    found = likelihood_figures(ask(make_model()), make_stick(min_dialogues=4))  # eli5 has three
    assert found.detail["small_sources"] == ["eli5"]
    for name in ("eli5", "macro"):
        assert found.detail["bpb"][name]["value"] > 0
        assert found.detail["bpb"][name]["low"] is None
    assert found.detail["bpb"]["dialogue"]["low"] < found.detail["bpb"]["dialogue"]["high"]
    assert found.detail["bpb"]["all"]["low"] is not None


def test_windows_and_cut_histories_are_counted():
    scores = [Score(-1.0, -1.0, 2, n_windows=2, n_cut=7)] + [Score(-1.0, -1.0, 2)] * (len(EXAMPLES) - 1)
    found = likelihood_figures(Likelihoods(scores, {"choice": [Score(-1.0, -1.0, 1)] * 12}), make_stick())
    assert found.detail["windows"] == {"replies_in_several": 1, "history_tokens_cut": 7}


def test_a_model_without_tokens_has_no_perplexity_and_one_that_was_not_asked_no_choice():
    found = likelihood_figures(Likelihoods([Score(-1.0, 0.0, 0)] * len(EXAMPLES), {}), make_stick())
    assert found.metrics["bpb"]["all"] > 0
    assert set(found.metrics["ppl"].values()) == set(found.metrics["choice"].values()) == {None}
    assert found.detail["ppl"] == found.detail["choice"] == {}
    assert {k: set(v) for k, v in found.metrics.items()} == {
        k: set(v) for k, v in empty_metrics(ASKED).items() if k != "n"
    }


def test_truthfulqa_is_graded_apart_from_the_quiz():
    two = [
        Question("truthfulqa/1", "Myths", "why?", ("no", "never"), ("yes", "of course")),
        Question("truthfulqa/2", "Laws", "who?", ("nobody",), ("you",)),
    ]
    stick = replace(make_stick(), asked=replace(ASKED, truthfulqa=two))
    quiz = [Score(-1.0, -1.0, 1), Score(-2.0, -1.0, 1), Score(-2.0, -1.0, 1)] * 4  # all right
    # e^x of the answers 4, 2, 3, 1 tenths: the best one wins, and the correct ones hold 6 of 10; then 1 against 3
    told = [Score(math.log(x / 10), -1.0, 1) for x in (4, 2, 3, 1, 1, 3)]
    likely = Likelihoods([Score(-1.0, -1.0, 2)] * len(EXAMPLES), {"choice": quiz, "truthfulqa": told})
    found = likelihood_figures(likely, stick)
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
    found = choice_tables(replace(ASKED, truthfulqa=many), likely, 2000, 1)["truthfulqa"]["all"]["mc1"]
    assert (found.value - found.low, found.high - found.value) == (pytest.approx(0.127, abs=0.015),) * 2


def test_the_real_replies_score_best():
    real = [example.reply for example in ASKED.prompts]
    values, detail = text_figures(Texts(real, [], [], []), make_stick())
    assert tuple(sorted(values)) == tuple(sorted(TEXT_MEASURES))
    assert (values["token_f1"], values["length_ratio"], values["copied"]) == (1.0, 1.0, 0.0)
    assert values["distinct_1"] is None  # fewer sampled words than the budget
    assert detail["bleu"]["signature"].startswith("nrefs:1|bs:100")


def test_a_model_that_is_not_there_has_the_same_names_and_no_number():
    there = likelihood_figures(ask(make_model()), make_stick()).metrics
    absent = empty_metrics(ASKED)
    assert {section: set(rows) for section, rows in absent.items() if section != "n"} == {
        section: set(rows) for section, rows in there.items()
    }
    assert all(value is None for rows in absent.values() for value in rows.values())


def test_rounding_reaches_every_float_and_refuses_nan():
    assert rounded({"a": [1.23456, 2], "b": {"c": None, "d": True}}) == {"a": [1.2346, 2], "b": {"c": None, "d": True}}
    json.dumps(rounded({"a": 0.1}), allow_nan=False)
    with pytest.raises(ValueError, match="a metric is nan"):
        rounded({"a": math.nan})
