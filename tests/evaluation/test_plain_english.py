import math
from pathlib import Path

import numpy as np
import pytest
import torch

from llm.corpus.dedup import hash_words, ngrams
from llm.dialogue import Example
from llm.evaluation.hub_model import HubModel
from llm.evaluation.plain_english import english_figures, read_paragraphs
from llm.evaluation.scoring import Score
from llm.files import write_json
from llm.hub.chat import document_ids
from llm.hub.pretrained import load_base
from llm.hub.upstream import describe_tiny

CURATED = Path(__file__).resolve().parents[2] / "data/curated"


def test_paragraphs_are_sections_of_documents(tmp_path):
    (tmp_path / "english.txt").write_text("It rained.\nAll day.\n\n\n\nThen it was dry.\n", encoding="utf-8")
    assert read_paragraphs(tmp_path / "english.txt") == [
        Example("english/0", "english", "english/0", (), "It rained.\nAll day."),
        Example("english/1", "english", "english/1", (), "Then it was dry."),
    ]


def test_bits_and_bytes_are_added_up_before_they_are_divided():
    paragraphs = [Example(f"english/{i}", "english", f"e{i}", (), text) for i, text in enumerate(["ab", "é" * 3])]
    scores = [Score(-8 * math.log(2), -1.0, 2), Score(-8 * math.log(2), -1.0, 3)]  # of 2 and 6 bytes
    values, detail = english_figures(paragraphs, scores, 100, seed=1)
    assert values == {"bpb": pytest.approx(2.0)}
    assert detail["bpb"]["n"] == 2 and detail["bpb"]["low"] < 2 < detail["bpb"]["high"]


def test_who_was_not_asked_has_no_figure():
    assert english_figures([], [], 100, seed=1) == english_figures(["text"], None, 100, seed=1) == ({"bpb": None}, {})


@torch.no_grad()
def test_the_figure_follows_from_the_loss_that_transformers_computes(tmp_path):
    (tmp_path / "base").mkdir()
    write_json(tmp_path / "base/tandem.json", vars(describe_tiny(tmp_path / "base")))
    model, tokenizer = load_base(tmp_path / "base")
    paragraphs = read_paragraphs(CURATED / "english.txt")[:4]
    scores = HubModel("base", model, tokenizer, 4096).loglik(paragraphs)
    values, _ = english_figures(paragraphs, scores, 100, seed=1)
    nats = 0.0
    for paragraph in paragraphs:
        text = tokenizer(paragraph.reply, add_special_tokens=False).input_ids
        ids = torch.tensor([[document_ids(tokenizer)[0], *text]])
        nats += float(model(ids, labels=ids).loss) * len(text)
    assert values["bpb"] == pytest.approx(nats / math.log(2) / sum(len(p.reply.encode()) for p in paragraphs), rel=1e-5)


def test_the_committed_text_shares_no_span_with_what_is_trained():
    paragraphs = read_paragraphs(CURATED / "english.txt")
    assert len(paragraphs) == 12 and 5000 < sum(len(p.reply) for p in paragraphs) < 8000
    spans = ngrams(hash_words(p.reply for p in paragraphs), 13)[0]
    trained = [(CURATED / f"{name}.jsonl").read_text(encoding="utf-8") for name in ("eli5", "technical")]
    assert len(spans) > 800
    assert not np.isin(spans, ngrams(hash_words(trained), 13)[0]).any()
