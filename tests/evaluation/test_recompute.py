"""The figures of evaluation equal those of tests/recompute.py, which shares no code with it."""

import random
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from llm.dialogue import Dialogue, read_table, write_table
from llm.evaluation.ask import Likelihoods
from llm.evaluation.hub_model import HubModel
from llm.evaluation.items import EvalItems, EvaluateConfig, cut_history, draw_examples
from llm.evaluation.perplexity import bits_per_byte, perplexity, resample_examples
from llm.evaluation.scratch_model import ScratchModel
from llm.files import write_json
from llm.hub.chat import FALLBACK_TEMPLATE
from llm.hub.export import merged_form, save_form, scratch_form
from llm.hub.pretrained import load_base, load_finetuned
from llm.hub.upstream import describe_tiny
from llm.models.registry import build_model, describe_model, load_gpt
from llm.models.shape import ModelConfig
from llm.runs.output_rows import jsonl_bytes, score_rows
from llm.tokens.tokenizer import TokenizerConfig, load_tokenizer, train_tokenizer
from llm.training.checkpoint import save_tensors
from llm.training.lora import FinetuneConfig, add_lora, save_adapter
from tests.measured_runs import ALIKE
from tests.recompute import figures, load, measure, place, read_replies, scores_of, shorten

CONFIG = EvaluateConfig(
    dialogues=4, max_replies=2, history_chars=60, generations=1, sampled=0, sampling=ALIKE,
    max_reply_bytes=4, truth_questions=1, truthfulqa_questions=None, literacy_questions=None,
    quiz=True, batch_tokens=300, bootstrap=100,
)  # fmt: skip
PARAMS = {"data_seed": 5, "evaluate": {"dialogues": 4, "max_replies": 2, "history_chars": 60}}
TEXT = "the sky is blue because light scatters — é and 3.5 apples? fall; why not 'up'"
WORDS = TEXT.split()


def dialogues():
    """Three sources, some replies several windows long, some dialogues with an unanswered last turn."""
    rng = random.Random(2)
    for source in ("dialogue", "eli5", "technical"):
        for i in range(6):
            turns = tuple(" ".join(rng.choices(WORDS, k=rng.choice([2, 8, 40]))) for _ in range(rng.randint(2, 7)))
            yield Dialogue(f"{source}-{i}", source, f"group-{i // 2}", turns)


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clean")
    write_table(folder / "test.arrow", dialogues())
    return folder


@pytest.fixture(scope="module", params=["gpt2", "llama", "qwen3"])
def scratch(request, tmp_path_factory):
    """Folder of a model as the stage train_scratch leaves it, with a window of 32 tokens."""
    folder = tmp_path_factory.mktemp(request.param)
    tokenizer = train_tokenizer([TEXT] * 3, TokenizerConfig(300, 2))
    shape = ModelConfig(request.param, 2, 2, 16, 32, dropout=0.0, attn_dropout=0.0)
    model = build_model(shape, tokenizer.vocab_size, torch.Generator().manual_seed(1))
    perturb(model, "")
    save_tensors(folder / "best.safetensors", dict(model.named_parameters()))
    write_json(folder / "config.json", describe_model(model))
    tokenizer.save(folder / "tokenizer.json")
    return folder


@pytest.fixture(scope="module")
def finetuned(tmp_path_factory):
    """Folders of a tiny base model and of an adapter that changes it."""
    base, adapter = tmp_path_factory.mktemp("base"), tmp_path_factory.mktemp("mistral")
    write_json(base / "tandem.json", vars(describe_tiny(base)))
    network = add_lora(
        load_base(base)[0], FinetuneConfig(True, None, 64, 2, 4, 0.0, "lora", "replies", "none", False, train=None)
    )
    perturb(network, "lora_B")
    save_adapter(adapter, network)
    write_json(adapter / "tandem.json", {"enabled": True, "description": "tiny"})
    return base, adapter


def perturb(model, only):
    """Move the weights far from where they start, so that predictions depend on the context."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if only in name:
                weight += 0.2 * torch.randn(weight.shape, generator=generator)


def evaluated(model, clean):
    """What evaluation finds, unrounded."""
    examples = draw_examples(read_table(clean / "test.arrow"), CONFIG, PARAMS["data_seed"])
    scores, resampling = model.loglik(examples), resample_examples(examples, 100, 1)
    figures = {"bpb": bits_per_byte(examples, scores, resampling), "ppl": perplexity(examples, scores, resampling)}
    values = {kind: {name: found.value for name, found in rows.items()} for kind, rows in figures.items()}
    return {**values, "replies": len(examples)}, scores


def assert_equal(found, expected):
    assert found["replies"] == expected["replies"]
    for kind in ("bpb", "ppl"):
        assert found[kind] == pytest.approx(expected[kind], rel=1e-6)


def test_the_exported_gpt_recomputed(scratch, clean, tmp_path):
    save_form(scratch_form(scratch), tmp_path / "model")
    tokenizer = load_tokenizer(scratch / "tokenizer.json")
    expected, scores = evaluated(ScratchModel("scratch", load_gpt(scratch), tokenizer, 300), clean)
    assert any(score.n_windows > 2 for score in scores) and any(score.n_cut for score in scores)
    assert_equal(measure(*load(tmp_path / "model"), read_replies(clean, PARAMS)), expected)


# peft 0.21 asks transformers 5.23 for an attribute by a name that is deprecated there.
@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
def test_the_fine_tuned_model_recomputed_with_its_adapter_apart_and_merged(finetuned, clean, tmp_path):
    expected, _ = evaluated(HubModel("mistral", *load_finetuned(*finetuned), 300), clean)
    plain, _ = evaluated(HubModel("base", *load_base(finetuned[0]), 300), clean)
    assert abs(plain["bpb"]["all"] - expected["bpb"]["all"]) > 0.001
    replies = read_replies(clean, PARAMS)
    model, tokenizer = load(*finetuned)
    tokenizer.chat_template = FALLBACK_TEMPLATE
    assert_equal(measure(model, tokenizer, replies), expected)
    save_form(merged_form(*finetuned, ["Why?"])[0], tmp_path / "merged")
    assert_equal(measure(*load(tmp_path / "merged"), replies), expected)
    model, _ = load(finetuned[0])
    assert_equal(measure(model, tokenizer, replies), plain)


def test_the_figures_follow_from_the_scores_on_disk(scratch, clean, tmp_path):
    tokenizer = load_tokenizer(scratch / "tokenizer.json")
    model = ScratchModel("scratch", load_gpt(scratch), tokenizer, 300)
    examples = draw_examples(read_table(clean / "test.arrow"), CONFIG, 5)
    rows = score_rows("scratch", EvalItems(examples, [], [], [], []), Likelihoods(model.loglik(examples), {}))
    (tmp_path / "scores.jsonl").write_bytes(jsonl_bytes(rows))
    assert_equal(figures(scores_of(tmp_path / "scores.jsonl", "scratch")), evaluated(model, clean)[0])


def test_the_same_replies_are_drawn(clean):
    for n, seed in ((None, 1), (2, 5), (1, 9)):
        config = replace(CONFIG, max_replies=n)
        params = {"data_seed": seed, "evaluate": {**PARAMS["evaluate"], "max_replies": n}}
        examples = draw_examples(read_table(clean / "test.arrow"), config, seed)
        ours = [(source, tuple(history), reply) for source, history, reply in read_replies(clean, params)]
        assert sorted(ours) == sorted((e.source, e.history, e.reply) for e in examples)


@given(
    st.lists(st.text("ab \n", max_size=12), min_size=1, max_size=5).filter(lambda turns: len(turns) % 2),
    st.integers(1, 20),
)
def test_histories_are_cut_alike(turns, max_chars):
    assert tuple(shorten(turns, max_chars)) == cut_history(tuple(turns), max_chars)


def test_a_place_is_a_hash():  # printf '1\na' | b2sum -l 64
    assert place("a", 1) == 0xFB437ACAF87CB339 / 2**64
