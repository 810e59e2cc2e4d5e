"""The gguf file holds the model: read back by gguf's own reader always, run by llama.cpp where that is installed."""

import random
import unicodedata

import numpy as np
import pytest
import torch
from gguf import GGUFReader, TokenType, dequantize

from llm.hub.export import HubForm, scratch_form
from llm.hub.gguf_form import gguf_tensors, permute, pre_tokenizer_name, write_gguf
from llm.hub.modelfile import go_template, modelfile
from llm.hub.smollm2 import byte_level_tokenizer, convert_gguf, undo_permutation
from llm.hub.tiny import SHAPE
from llm.inference.decoding import Decoding
from llm.tokens.tokenizer import ROLES, load_tokenizer
from tests.gguf_files import SPECIAL, TEMPLATE, TEXTS, bpe, merges
from tests.hub.test_export import TURNS, messages, perturb, scratch

__all__ = ["scratch"]  # a fixture

TOLERANCE = {
    "f32": 1e-3,
    "f16": 1e-2,
}  # of logits, as a share of their deviation: llama.cpp's sums are in another order
GELU_TOLERANCE = 5e-3  # llama.cpp looks GELU up in a table of 16-bit numbers
N_TEXTS = 10_000


def fields(reader):
    return {name: field.contents() for name, field in reader.fields.items()}


@pytest.fixture(scope="module")
def form(scratch):
    return scratch_form(scratch)


@pytest.fixture(scope="module")
def grouped():
    """A Mistral as SmolLM2: queries in groups, digits apart."""
    from transformers import MistralConfig, MistralForCausalLM

    trained = bpe()
    named = {"bos_token": SPECIAL[1], "eos_token": SPECIAL[2], "pad_token": SPECIAL[2], "chat_template": TEMPLATE}
    tokenizer = byte_level_tokenizer(trained.get_vocab(), merges(trained), SPECIAL, split_digits=True, **named)
    ids = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2}
    shape = {"vocab_size": len(tokenizer), "sliding_window": None, "tie_word_embeddings": True} | SHAPE | ids
    network = MistralForCausalLM(MistralConfig(**shape)).eval()
    perturb(network, 0.2)
    return HubForm(network, tokenizer)


@pytest.fixture(scope="module", params=["f32", "f16"])
def written(form, tmp_path_factory, request):
    path = tmp_path_factory.mktemp("gguf") / f"model-{request.param}.gguf"
    write_gguf(path, form.network, form.tokenizer, request.param, "tiny")
    return path, request.param


def test_every_tensor_comes_back(form, written):
    path, precision = written
    found = {entry.name: dequantize(entry.data, entry.tensor_type) for entry in GGUFReader(path).tensors}
    due = {tensor.name: tensor.numbers("f32") for tensor in gguf_tensors(form.network)}
    assert found.keys() == due.keys()
    for name, values in due.items():
        np.testing.assert_allclose(found[name], values, rtol=0 if precision == "f32" else 1e-3, atol=1e-6)


def test_every_weight_of_the_network_has_a_place(form):
    shared = {tensor.data_ptr(): tensor.numel() for tensor in form.network.state_dict().values()}
    assert sum(tensor.values.numel() for tensor in gguf_tensors(form.network)) == sum(shared.values())


def test_the_header_describes_the_network_and_the_tokenizer(scratch, form, written):
    found, ours = fields(GGUFReader(written[0])), load_tokenizer(scratch / "tokenizer.json")
    name = found["general.architecture"]
    assert name == form.network.config.model_type
    assert [found[f"{name}.{key}"] for key in ("block_count", "context_length", "embedding_length")] == [2, 64, 16]
    assert found["tokenizer.ggml.model"], found["tokenizer.ggml.pre"] == ("gpt2", "gpt-2")
    tokens, kinds = found["tokenizer.ggml.tokens"], found["tokenizer.ggml.token_type"]
    assert [form.tokenizer.convert_tokens_to_ids(token) for token in tokens] == list(range(ours.vocab_size))
    assert {token for token, kind in zip(tokens, kinds, strict=True) if kind == TokenType.CONTROL} == set(ROLES)
    assert found["tokenizer.ggml.eos_token_id"] == ours.end_id and not found["tokenizer.ggml.add_bos_token"]
    assert found["tokenizer.chat_template"] == form.tokenizer.chat_template


def test_a_merged_model_comes_back_from_its_file_as_it_was(grouped, tmp_path):
    """By the reader that SmolLM2 is read with, for which queries and keys are permuted by head."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    write_gguf(tmp_path / "model.gguf", grouped.network, grouped.tokenizer, "f32", "tiny")
    convert_gguf(tmp_path / "model.gguf", tmp_path / "again")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "again", dtype=torch.float32)
    for name, values in again.state_dict().items():
        assert torch.equal(values, grouped.network.state_dict()[name]), name
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "again")
    assert [tokenizer(text)["input_ids"] for text in TEXTS] == [grouped.tokenizer(text)["input_ids"] for text in TEXTS]
    assert tokenizer.chat_template == TEMPLATE


def test_permuting_is_undone():
    weight = torch.arange(8 * 3.0).view(8, 3)
    assert torch.equal(undo_permutation(permute(weight, 2), 2), weight)
    assert permute(weight, 2)[:4, 0].tolist() == [0.0, 6.0, 3.0, 9.0]  # a head of 4 rows: halves 0, 1 and 2, 3


def test_a_tokenizer_of_another_kind_is_refused_with_what_to_do(form, scratch):
    from tokenizers import pre_tokenizers

    tokenizer = scratch_form(scratch).tokenizer
    assert pre_tokenizer_name(tokenizer) == "gpt-2"
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    with pytest.raises(ValueError, match=r"no byte-level BPE .* convert_hf_to_gguf\.py"):
        pre_tokenizer_name(tokenizer)


def go_rendered(template, said):
    """What Go's text/template makes of the conditions that `go_template` writes: a reader of just these."""
    system = next((one["content"] for one in said if one["role"] == "system"), "")
    head, _, body = template.partition('{{ if eq .Role "user" }}')
    assert head == "{{ $asked := false }}{{ range .Messages }}"
    asked, _, rest = body.partition("{{ $asked = true }}{{ .Content }}")
    again, _, opened = asked.removeprefix("{{ if $asked }}").partition("{{ else }}{{ if $.System }}")
    with_system, _, first = opened.removesuffix("{{ end }}{{ end }}").partition("{{ else }}")
    answer = rest.partition('{{ else if eq .Role "assistant" }}{{ .Content }}{{ end }}{{ end }}')[0]
    text, n_asked = "", 0
    for one in said:
        if one["role"] == "user":
            opening = again if n_asked else with_system.replace("{{ $.System }}", system) if system else first
            text, n_asked = text + opening + one["content"] + answer, n_asked + 1
        if one["role"] == "assistant":
            text += one["content"]
    return text


@pytest.mark.parametrize("system", [None, "Be kind"])
@pytest.mark.parametrize("n", [1, 3])
def test_ollamas_template_writes_what_the_chat_template_does(form, n, system):
    said = [*([{"role": "system", "content": system}] if system else []), *messages(TURNS[:n])]
    due = form.tokenizer.apply_chat_template(said, tokenize=False, add_generation_prompt=True)
    assert go_rendered(go_template(form.tokenizer), said) == due


def test_a_template_that_treats_turns_unlike_is_refused(scratch):
    tokenizer = scratch_form(scratch).tokenizer
    tokenizer.chat_template = tokenizer.chat_template.replace("{% if add", "{{ messages | length }}{% if add")
    tokenizer.chat_template = tokenizer.chat_template.replace("<|user|>", "{{ loop.index }}<|user|>")
    with pytest.raises(ValueError, match="treats turns unlike: write TEMPLATE by hand"):
        go_template(tokenizer)


def test_the_modelfile_stops_at_every_role_and_draws_as_the_evaluation_does(form):
    drawn = Decoding(600, 0.8, top_k=0, top_p=0.95, repetition_penalty=1.0, seed=0)
    lines = modelfile("model.gguf", form, drawn).splitlines()
    assert lines[0] == "FROM ./model.gguf"
    assert {line.split('"')[1] for line in lines if line.startswith("PARAMETER stop")} == set(ROLES)
    assert "PARAMETER temperature 0.8" in lines and "PARAMETER top_p 0.95" in lines
    assert "PARAMETER num_ctx 64" in lines
    assert not any("temperature" in line for line in modelfile("model.gguf", form, None).splitlines())


def open_llama(path, **options):
    """The file in llama.cpp; the test is skipped where that is not installed."""
    llama_cpp = pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed: requirements-extra.lock")
    return llama_cpp.Llama(str(path), verbose=False, n_threads=1, **options)


def run_llama(path, n_ctx):
    """Keys and values are kept in 32 bits (ggml type 0), or they would be rounded to 16."""
    return open_llama(path, n_ctx=n_ctx, logits_all=True, type_k=0, type_v=0)


def check_logits(form, path, precision, ids):
    with torch.no_grad():
        ours = form.network(torch.tensor([ids])).logits[0].numpy()
    llama = run_llama(path, 64)
    llama.eval(ids)
    assert ours.std() > 0.5
    share = max(TOLERANCE[precision], GELU_TOLERANCE if form.network.config.model_type == "gpt2" else 0)
    np.testing.assert_allclose(np.array(llama.scores[: len(ids)]), ours, rtol=0, atol=share * ours.std())
    llama.close()


def test_llama_cpp_gives_our_logits(form, written):
    check_logits(form, *written, torch.randint(5, 260, (60,), generator=torch.Generator().manual_seed(1)).tolist())


@pytest.mark.parametrize("precision", ["f32", "f16"])
def test_llama_cpp_gives_the_logits_of_a_mistral_with_grouped_queries(grouped, tmp_path, precision):
    write_gguf(tmp_path / "model.gguf", grouped.network, grouped.tokenizer, precision, "tiny")
    check_logits(grouped, tmp_path / "model.gguf", precision, list(range(3, 60)))


def test_llama_cpp_writes_our_greedy_replies(form, written):
    ids = form.tokenizer.apply_chat_template(messages(TURNS[:1]), add_generation_prompt=True)["input_ids"]
    due = form.network.generate(torch.tensor([ids]), max_new_tokens=20, do_sample=False)[0, len(ids) :].tolist()
    llama, found = run_llama(written[0], 64), []
    for token in llama.generate(ids, temp=0.0, repeat_penalty=1.0):
        found.append(token)
        if len(found) == len(due):
            break
    llama.close()
    assert found == due


def unicode_texts(n):
    """Texts of letters, marks, spaces, contractions and role tokens of all kinds, of characters that Unicode 14 has.

    Libraries with a later Unicode take later letters for letters, where others see a symbol.
    """
    draw = random.Random(1)
    parts = ["'s", "'LL", "’t", " ", "\n", "\u3000", "\x85", "\u200b", " the", "12", "½", "🙂", *ROLES]
    known = [chr(i) for i in range(1, 0x20000) if unicodedata.category(chr(i)) not in ("Cn", "Cs")]
    for _ in range(n):
        yield "".join(draw.choice(draw.choice((parts, known))) for _ in range(draw.randint(1, 30)))


def test_llama_cpp_cuts_texts_into_our_tokens(scratch, written):
    ours, llama = load_tokenizer(scratch / "tokenizer.json"), open_llama(written[0], vocab_only=True)
    texts = [*TURNS, *unicode_texts(N_TEXTS)]
    found = [llama.tokenize(text.encode(), add_bos=False, special=False) for text in texts]
    llama.close()
    assert [text for text, ids in zip(texts, found, strict=True) if ids != ours.encode(text)] == []
