import math
from dataclasses import replace

import pytest

from llm.corpus.questions import Question
from llm.dialogue import Example, Prompt
from llm.evaluation.ask import (
    Generations,
    Likelihoods,
    Outputs,
    ask_generations,
    ask_likelihoods,
    ask_model,
    count_requests,
    keep_finite,
)
from llm.evaluation.eval_models import COUNTED, TRAINED
from llm.evaluation.exposure import Planted
from llm.evaluation.items import EvalItems, EvaluateConfig
from llm.evaluation.scoring import EvalModel, Score
from llm.evaluation.scratch_model import ScratchModel
from llm.models.registry import build_model
from llm.models.shape import ModelConfig
from llm.tokens.tokenizer import TokenizerConfig, train_tokenizer
from tests.measured_runs import ALIKE

TEXT = "what is a token a piece of text and why does a model learn from examples"
WORDS = TEXT.split()
TOKENIZER = train_tokenizer([TEXT] * 4, TokenizerConfig(vocab_size=280, min_frequency=2))

CONFIG = EvaluateConfig(
    dialogues=None, max_replies=None, history_chars=200, generations=4, sampled=2, sampling=ALIKE,
    max_reply_bytes=6, truth_questions=2, truthfulqa_questions=None, literacy_questions=None,
    quiz=True, batch_tokens=128, bootstrap=100,
)  # fmt: skip
QUIZ = [Question(f"q{i}", f"area{i % 2}", f"why {WORDS[i]}?", (WORDS[i],), ("text of", "learn")) for i in range(4)]


def make_examples(source, n):
    return [
        Example(f"{source}{i}/1", source, f"{source}{i}", (" ".join(WORDS[i % 9 :]),), " ".join(WORDS[: 1 + i % 7]))
        for i in range(n)
    ]


EXAMPLES = make_examples("dialogue", 5) + make_examples("eli5", 3)
ITEMS = EvalItems(EXAMPLES, EXAMPLES[:2] + EXAMPLES[-2:], QUIZ, QUIZ[:2], [])


def make_model(zero_head=False):
    shape = ModelConfig("gpt2", 2, 2, 16, 64, dropout=0.0, attn_dropout=0.0)
    gpt = build_model(shape, TOKENIZER.vocab_size, generator=None)
    if zero_head:
        gpt.head.data.zero_()
    return ScratchModel("scratch", gpt, TOKENIZER, batch_tokens=128)


def ask(model):
    return ask_likelihoods(model, ITEMS, lambda n: None)


def test_scores_come_back_in_the_order_of_the_items():
    model = make_model()
    found = ask(model)
    for example, score in zip(EXAMPLES, found.replies, strict=True):
        assert score.logprob == pytest.approx(model.loglik([example])[0].logprob, abs=1e-4)
    assert len(found.answers["choice"]) == 4 * 3


def test_the_progress_bar_reaches_its_end():
    model = EvalModel("scratch", "tiny", TRAINED, make_model, ())
    done = []
    ask_likelihoods(make_model(), ITEMS, done.append)
    ask_generations(make_model(), ITEMS, CONFIG.sampled, CONFIG.drawn("scratch", 1), done.append)
    assert (
        sum(done) == count_requests(model, ITEMS, CONFIG) == 8 + 4 * 3 + 4 + 2 + 2 + 2 * 10
    )  # replies, answers, texts


def test_each_text_answers_its_own_prompt():
    model = make_model()
    drawn = CONFIG.drawn("scratch", 1)
    texts = ask_generations(model, replace(ITEMS, shown=("why a model?",)), 2, drawn, lambda n: None)
    assert [len(texts.greedy), len(texts.sampled), len(texts.truth), len(texts.shown)] == [4, 2, 2, 1]
    assert texts.truth[1] == model.generate([Prompt((QUIZ[1].question,))], CONFIG.greedy(1))[0].text
    assert texts.shown[0] == model.generate([Prompt(("why a model?",))], CONFIG.greedy(1))[0].text
    assert texts.shown_sampled == [model.generate([Prompt(("why a model?",))], drawn)[0].text]
    assert texts.sampled[1] == model.generate([ITEMS.prompts[1].prompt], drawn)[0].text


def test_what_is_scored_together_is_about_as_long(monkeypatch):
    monkeypatch.setattr("llm.evaluation.ask.CHUNK", 2)
    long, short = ("why " * 30,), ("why",)
    texts = [(short, "so " * 60), (long, "so"), (("how",), "so " * 61), (("what " * 25,), "so")]
    examples = [Example(f"{i}/1", "eli5", f"g{i}", history, reply) for i, (history, reply) in enumerate(texts)]
    chunks = []

    class Watched:
        def loglik(self, examples: list[Example]) -> list[Score]:
            chunks.append([example.id for example in examples])
            return [Score(float(example.id[0]), 0.0, 1) for example in examples]

    found = ask_likelihoods(Watched(), replace(ITEMS, examples=examples, quiz=[]), lambda n: None)
    assert chunks == [["2/1", "0/1"], ["3/1", "1/1"]]
    assert [score.logprob for score in found.replies] == [0.0, 1.0, 2.0, 3.0]


FINE, NAN, INFINITE = Score(-1.0, -0.5, 3), Score(math.nan, -0.5, 3), Score(-1.0, -math.inf, 3)
SAID = Generations([], [], [], [])


@pytest.mark.parametrize("broken", [NAN, INFINITE])
def test_what_is_not_finite_goes_as_a_whole_and_by_name_and_the_rest_stays(broken):
    answers = {"choice": [FINE] * 12}
    found = Outputs(ITEMS, Likelihoods([FINE, broken, *[FINE] * 6], answers), SAID, [FINE, broken], [FINE])
    kept, lost = keep_finite(found)
    assert kept == Outputs(replace(ITEMS, examples=[]), Likelihoods([], answers), SAID, None, [FINE])
    assert lost == {"bpb, ppl": "1 of 8 scores are not finite", "memory": "scores of canaries are not finite"}
    kept, lost = keep_finite(
        Outputs(ITEMS, Likelihoods([FINE] * 8, {"choice": [FINE, broken] * 6}), SAID, None, [broken])
    )
    assert kept == Outputs(replace(ITEMS, quiz=[]), Likelihoods([FINE] * 8, {}), SAID)
    assert list(lost) == ["choice", "uncertainty"]
    kept, lost = keep_finite(Outputs(ITEMS, None, SAID, english=[FINE, broken]))
    assert kept == Outputs(ITEMS, None, SAID)
    assert lost == {"english": "scores of plain English are not finite"}


def test_who_is_to_be_asked_for_plain_english_is():
    paragraphs = [Example(f"english/{i}", "english", f"e{i}", (), text) for i, text in enumerate(WORDS[:3])]
    items, gpt = replace(ITEMS, english=paragraphs), make_model()
    asked = EvalModel("scratch", "tiny", (*COUNTED, "english"), lambda: gpt, ())
    outputs = ask_model(asked, items, Planted([], []), CONFIG, 1, lambda n: None)
    assert outputs.english == [pytest.approx(score) for score in gpt.loglik(paragraphs)]
    counted = replace(asked, tasks=COUNTED)
    assert ask_model(counted, items, Planted([], []), CONFIG, 1, lambda n: None).english is None


def test_outputs_that_are_all_finite_stay_as_they_are():
    for found in (Outputs(ITEMS, Likelihoods([FINE] * 8, {}), SAID, [FINE], [FINE]), Outputs(ITEMS, None, SAID)):
        assert keep_finite(found) == (found, {})


def test_a_model_of_nan_is_asked_for_no_text_and_keeps_nothing():
    def load():
        model = make_model()
        model.gpt.head.data.fill_(math.nan)
        return model

    found = ask_model(
        EvalModel("scratch", "tiny", TRAINED, load, ()), ITEMS, Planted([], [], []), CONFIG, 1, lambda n: None
    )
    assert found.generations is None and all(math.isnan(score.logprob) for score in found.likelihoods.replies)
    kept, lost = keep_finite(found)
    assert (kept.likelihoods, kept.generations) == (None, None)
    assert lost["text, truth"] == "its scores are not finite, so it wrote nothing"
