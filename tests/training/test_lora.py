import json
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from llm.dialogue import Dialogue
from llm.files import write_json
from llm.hub.pretrained import load_base, load_finetuned, quiet_peft
from llm.hub.upstream import describe_tiny
from llm.tokens.packing import TokenCorpus, pack_corpus
from llm.training.checkpoint import State
from llm.training.loop import fit
from llm.training.lora import (
    LINEARS,
    FinetuneConfig,
    PackedModel,
    add_lora,
    describe,
    load_trained,
    save_adapter,
    select,
)
from tests.training.test_schedule import CONFIG

CPU = torch.device("cpu")
TRAIN = replace(
    CONFIG, optimizer="adamw", lr=2e-2, weight_decay=0.0, batch_size=4, micro_batch=2, max_steps=50, eval_every=10
)
FINETUNE = FinetuneConfig(
    enabled=True,
    train_tokens=None,
    context_length=64,
    lora_r=4,
    lora_alpha=8,
    lora_dropout=0.0,
    lora_variant="lora",
    learn="replies",
    quantize="none",
    gradient_checkpointing=False,
    train=TRAIN,
)


def dialogue(source, number, n_turns=2, words=4):
    """A dialogue whose texts name their source."""
    turns = tuple(f"{source} turn {i} " + f"word{number} " * words for i in range(n_turns))
    return Dialogue(f"{source}-{number}", source, f"{source}-{number}", turns)


DIALOGUES = [
    *(dialogue("dialogue", i, n_turns=12) for i in range(10)),
    *(dialogue("eli5", i, words=6) for i in range(30)),
    *(dialogue("technical", i) for i in range(30)),
]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """The folder of a tiny Mistral."""
    folder = tmp_path_factory.mktemp("models") / "base"
    folder.mkdir()
    origin = describe_tiny(folder)
    write_json(folder / "tandem.json", vars(origin))
    return folder


@pytest.fixture(scope="module")
def tokenizer(base):
    """The tokenizer of the tiny Mistral."""
    return load_base(base)[1]


def network(base, config=FINETUNE):
    """The tiny Mistral with fresh adapters."""
    torch.manual_seed(1)
    return add_lora(load_base(base)[0], config)


def perturb(peft_model, size=0.3):
    """Change the adapters, zero at the start, so that they matter."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in peft_model.parameters():
            if parameter.requires_grad:
                parameter.normal_(0, size, generator=generator)


def tokens_by_source(selection, tokenizer):
    """Tokens that each source gave."""
    offsets, ids = selection.corpus.offsets, selection.corpus.ids
    texts = [(b - a, tokenizer.decode(ids[a:b])) for a, b in pairwise(offsets)]
    counts = Counter()
    for n, text in texts:
        counts[text.removeprefix("<s>[INST] ").split(" ")[0]] += int(n)
    return counts


def test_tokens_are_drawn_evenly_and_never_above_the_limit(tokenizer):
    selection = select(DIALOGUES, tokenizer, 6000, seed=1)
    counts = tokens_by_source(selection, tokenizer)
    assert sum(counts.values()) == len(selection.corpus.ids) <= 6000
    assert set(counts) == set(selection.dialogues) == {"dialogue", "eli5", "technical"}
    assert max(counts.values()) - min(counts.values()) <= 700  # one dialogue at most


def test_of_a_dialogue_the_replies_are_learned_and_of_a_document_all(tokenizer):
    talk = replace(dialogue("eli5", 1), system="Be kind")
    book = Dialogue("b1", "book", "b", ("It was night. " * 5,), kind="document")
    selection = select([talk, book], tokenizer, None, seed=1)
    ids, offsets, supervised = selection.corpus.ids, selection.corpus.offsets, selection.corpus.supervised
    texts = [tokenizer.decode(ids[a:b]) for a, b in pairwise(offsets)]
    learned = [tokenizer.decode(ids[a:b][supervised[a:b]]) for a, b in pairwise(offsets)]
    assert texts == [f"<s>{book.turns[0]}</s>", f"<s>[INST] Be kind\n\n{talk.turns[0]} [/INST]{talk.turns[1]}</s>"]
    assert learned == [f"{book.turns[0]}</s>", f"{talk.turns[1]}</s>"]
    assert selection.with_system == 1 and selection.dialogues == {"book": 1, "eli5": 1}


def test_a_document_may_be_cut_anywhere(tokenizer):
    book = Dialogue("b1", "book", "b", ("It was night. " * 50,), kind="document")
    assert len(select([book], tokenizer, 101, seed=1).corpus.ids) == 101


def test_a_source_that_runs_out_leaves_its_share_to_the_others(tokenizer):
    few = [d for d in DIALOGUES if d.source != "technical"] + [dialogue("technical", 0)]
    selection = select(few, tokenizer, 6000, seed=1)
    assert selection.dialogues["technical"] == 1 and len(selection.corpus.ids) > 5000


def test_without_a_limit_everything_is_drawn_once(tokenizer):
    selection = select(DIALOGUES, tokenizer, None, seed=1)
    assert selection.dialogues == {"dialogue": 10, "eli5": 30, "technical": 30}


def test_a_long_conversation_is_cut_behind_a_reply(tokenizer):
    selection = select([dialogue("dialogue", 0, n_turns=40)], tokenizer, 700, seed=1)
    text = tokenizer.decode(selection.corpus.ids)
    assert text.endswith("</s>") and 600 < len(selection.corpus.ids) <= 700
    assert selection.corpus.supervised[-1] and len(selection.corpus.turns) == text.count("turn")


def test_a_seed_fixes_what_is_drawn(tokenizer):
    one, two, other = (select(DIALOGUES, tokenizer, 3000, seed=seed).corpus.ids for seed in (1, 1, 2))
    assert np.array_equal(one, two) and not np.array_equal(one, other)


def test_below_every_exchange_the_shortest_is_taken_all_the_same_and_said(tokenizer, caplog):
    lengths = [select([one], tokenizer, None, seed=1).corpus.offsets[-1] for one in DIALOGUES]
    chosen = select(DIALOGUES, tokenizer, 64, seed=1)
    assert sum(chosen.dialogues.values()) == 1
    assert 64 < chosen.corpus.offsets[-1] <= min(lengths)
    assert "no exchange fits into 64 tokens: the shortest is taken all the same" in caplog.text


def test_no_dialogue_at_all_is_refused(tokenizer):
    with pytest.raises(ValueError, match="there is no dialogue to learn from"):
        select([], tokenizer, 64, seed=1)


def test_a_dialogue_that_does_not_fit_leaves_its_place_to_one_that_does(tokenizer):
    long = [Dialogue(f"l{i}", "own", f"l{i}", ("why " * 99, "so " * 99)) for i in range(5)]
    for seed in range(1, 9):
        assert select([*long, dialogue("own", 9)], tokenizer, 200, seed).dialogues == {"own": 1}


def test_supervised_tokens_are_the_replies_and_their_ends(tokenizer):
    selection = select([dialogue("eli5", 0)], tokenizer, None, seed=1)
    assert selection.supervised_tokens == len(dialogue("eli5", 0).turns[1]) + 1  # ASCII: a token a character


@pytest.mark.parametrize(
    ("change", "message"), [({"lora_r": 0}, "^lora_r is 0"), ({"train_tokens": 1}, "^train_tokens is 1")]
)
def test_a_number_out_of_range_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(FINETUNE, **change)


def test_only_the_adapters_of_the_seven_linears_are_trained(base):
    model = PackedModel(network(base))
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    assert all("lora_" in name for name in trained)
    assert {name.split(".")[-4] for name in trained} == set(LINEARS)
    assert len(trained) == 2 * 7 * 2  # layers, linears, factors


def test_packed_dialogues_do_not_see_each_other(base):
    peft_model = network(base)
    perturb(peft_model)
    model = PackedModel(peft_model).eval()
    one, two = torch.randint(2, 258, (2, 9), generator=torch.Generator().manual_seed(3)).split(1)
    positions = torch.arange(9).repeat(2)[None]
    with torch.no_grad():
        packed = model.hidden(torch.cat([one, two], 1), positions, torch.tensor([[0] * 9 + [1] * 9]))
        alone = torch.cat([model.hidden(one), model.hidden(two)], 1)
    assert torch.allclose(packed, alone, atol=1e-5)


def test_hidden_states_times_the_head_are_the_models_logits(base):
    peft_model = network(base)
    perturb(peft_model)
    model = PackedModel(peft_model).eval()
    ids = torch.arange(2, 20)[None]
    with torch.no_grad():
        assert torch.allclose(model.hidden(ids) @ model.head.T, peft_model(ids).logits, atol=1e-6)


def test_recomputing_activations_changes_no_gradient(base):
    gradients = []
    for checkpointing in (False, True):
        model = PackedModel(network(base, replace(FINETUNE, gradient_checkpointing=checkpointing))).train()
        perturb(model)
        ids, documents = torch.arange(2, 34)[None], torch.tensor([[0] * 16 + [1] * 16])
        model.hidden(ids, torch.arange(32)[None], documents).square().sum().backward()
        gradients.append([p.grad for p in model.parameters() if p.requires_grad])
    assert all(torch.allclose(a, b, rtol=1e-5, atol=1e-6) for a, b in zip(*gradients, strict=True))


@pytest.fixture(scope="module")
def trained(base, tokenizer, tmp_path_factory):
    """A fine-tuned model, its run and the state it left."""
    folder = tmp_path_factory.mktemp("run")
    selection = select(DIALOGUES, tokenizer, None, seed=1)
    packed = pack_corpus(selection.corpus, FINETUNE.context_length, seed=1)
    peft_model = network(base)
    frozen = {n: p.clone() for n, p in peft_model.named_parameters() if not p.requires_grad}
    model = PackedModel(peft_model)
    run = fit(model, packed, packed, TRAIN, 1, CPU, State(folder / "state"))
    load_trained(model, folder / "state" / "best.safetensors")
    save_adapter(folder / "mistral", peft_model)
    write_json(folder / "mistral" / "tandem.json", {"enabled": True})
    return peft_model, run, frozen, folder / "mistral"


def test_fine_tuning_lowers_the_loss_of_the_replies(trained):
    _, run, _, _ = trained
    assert run.history[-1]["val_loss"] < 0.9 * run.history[0]["val_loss"]


def test_the_pretrained_weights_do_not_move(trained):
    peft_model, _, frozen, _ = trained
    now = dict(peft_model.named_parameters())
    assert all(torch.equal(now[name], weight) for name, weight in frozen.items())


def test_the_merged_model_gives_the_logits_of_the_adapted_one(trained, base):
    peft_model, _, _, folder = trained
    merged, _ = load_finetuned(base, folder)
    ids = torch.arange(2, 40)[None]
    with torch.no_grad():
        assert torch.allclose(merged(ids).logits, peft_model.eval()(ids).logits, atol=1e-5)
        assert not torch.allclose(merged(ids).logits, load_base(base)[0](ids).logits, atol=1e-2)
    assert not any("lora" in name for name, _ in merged.named_parameters())


@pytest.mark.parametrize("variant", ["lora", "rslora", "dora"])
def test_a_variant_gives_its_own_logits_and_peft_loads_and_merges_it(base, tmp_path, variant):
    from peft import PeftModel

    ours = network(base, replace(FINETUNE, lora_variant=variant))
    perturb(ours, 0.05)
    save_adapter(tmp_path, ours)
    write_json(tmp_path / "tandem.json", {"enabled": True})
    with quiet_peft():
        loaded = PeftModel.from_pretrained(load_base(base)[0], tmp_path)
    ids = torch.arange(2, 40)[None]
    with torch.no_grad():
        logits = ours.eval()(ids).logits
        assert torch.equal(loaded.eval()(ids).logits, logits)
        assert torch.allclose(load_finetuned(base, tmp_path)[0](ids).logits, logits, atol=1e-5)
        assert not torch.allclose(load_base(base)[0](ids).logits, logits, atol=1e-2)


@pytest.mark.parametrize("variant", ["lora", "rslora", "dora"])
def test_a_variant_is_computed_as_its_paper_says(base, variant):
    peft_model = network(base, replace(FINETUNE, lora_variant=variant))
    perturb(peft_model)
    linear = PackedModel(peft_model).blocks[0].mlp.down_proj
    x = torch.randn(3, linear.in_features, generator=torch.Generator().manual_seed(4))
    update = linear.lora_B["default"].weight @ linear.lora_A["default"].weight
    weight = linear.base_layer.weight + update * 8 / (2 if variant == "rslora" else 4)  # alpha 8, rank 4
    if variant == "dora":
        weight = weight * (linear.lora_magnitude_vector["default"].weight / weight.norm(dim=1))[:, None]
    with torch.no_grad():
        assert torch.allclose(linear.eval()(x), x @ weight.T, atol=1e-5)


def test_a_saved_adapter_names_its_modules_in_order(trained):
    config = json.loads((trained[3] / "adapter_config.json").read_text(encoding="utf-8"))
    assert config["target_modules"] == sorted(LINEARS)
    assert (config["r"], config["inference_mode"], config["peft_type"]) == (4, True, "LORA")


def test_of_whole_dialogues_every_token_is_learned_but_the_first(tokenizer):
    selection = select([dialogue("eli5", 0), dialogue("eli5", 1)], tokenizer, None, seed=1)
    whole = selection.learned_whole()
    assert whole.supervised_tokens == len(whole.corpus.ids) > selection.supervised_tokens
    assert np.array_equal(whole.corpus.ids, selection.corpus.ids) and whole.dialogues == selection.dialogues
    targets = pack_corpus(whole.corpus, 64, seed=1).batch(range(1)).targets
    lengths = np.diff(whole.corpus.offsets)
    assert int((targets >= 0).sum()) <= int(lengths.sum()) - 2 and lengths.sum() > 64
    every = pack_corpus(whole.corpus, int(lengths.sum()), seed=1)
    assert int((every.batch(range(len(every))).targets >= 0).sum()) == int(lengths.sum()) - 2


def test_unsupervised_tokens_have_no_influence_on_the_loss(base, tokenizer):
    corpus = select(DIALOGUES[:3], tokenizer, None, seed=1).corpus
    nothing = TokenCorpus(corpus.ids, corpus.offsets, corpus.turns, np.zeros_like(corpus.supervised))
    assert (pack_corpus(nothing, 64, seed=1).batch([0]).targets == -1).all()
    targets = torch.cat([pack_corpus(corpus, 64, seed=1).batch([i]).targets.flatten() for i in range(20)])
    assert 0 < int((targets >= 0).sum()) <= int(corpus.supervised.sum())


def test_a_stand_in_is_called_one():
    base = {"name": "SmolLM2-135M-Instruct", "parameters": 134_515_008, "stand_in": True, "licence": "Apache-2.0"}
    told = describe(base, FINETUNE)["description"]
    assert told.startswith("SmolLM2-135M-Instruct (135M parameters, a stand-in for Mistral 7B), fine-tuned with LoRA")
    assert "stand-in" not in describe({**base, "stand_in": False}, FINETUNE)["description"]
    assert told.endswith("of rank 4 on the replies")
    assert describe(base, replace(FINETUNE, learn="all"))["description"].endswith("of rank 4 on whole dialogues")
    dora = describe(base, replace(FINETUNE, lora_variant="dora"))
    assert dora["name"].endswith("+ DoRA") and "fine-tuned with DoRA of rank 4" in dora["description"]
