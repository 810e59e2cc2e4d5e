"""Perplexity and bits per byte by another path: plain transformers and peft, one reply at a time, nothing of `llm`.

    python -m llm export scratch DIR && python -m tests.recompute DIR
    python -m tests.recompute models/base --adapter models/mistral --metrics metrics/mistral.json

It reads the cleaned test set and params.yaml, draws the replies as README and params.yaml define them, and prints what
it finds beside the committed figures. The definitions are written down a second time here on purpose: a mistake in
llm/testset.py, scoring.py, likelihood.py or perplexity.py cannot repeat itself by import.
"""

import argparse
import hashlib
import json
import math
import re
from pathlib import Path


def place(name, seed):
    """Place of a name in [0, 1): its 64-bit BLAKE2b hash with the seed."""
    digest = hashlib.blake2b(f"{seed}\n{name}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def shorten(history, max_chars):
    """The last turns of at most `max_chars` characters, user first; a longer single turn from the start of a word."""
    while len(history) > 1 and sum(len(turn) for turn in history) > max_chars:
        history = history[2:]
    *earlier, last = history
    if len(last) > max_chars:
        last = last.rstrip()
    if len(last) > max_chars:
        tail = last[-max_chars:]
        from_word = tail.lstrip() if last[-max_chars - 1].isspace() else re.sub(r"^\S*\s+", "", tail, count=1)
        last = from_word or tail
    return [*earlier, last]


def scored(dialogues, seed, per_source, per_dialogue, max_chars):
    """(source, history, reply) of every scored reply: the hash draws dialogues, even steps draw replies from each."""
    chosen = []
    for source in sorted({d["source"] for d in dialogues}):
        members = sorted((d for d in dialogues if d["source"] == source), key=lambda d: place(d["id"], seed))
        for dialogue in members[:per_source]:
            turns = dialogue["turns"]
            at = list(range(1, len(turns), 2))
            if per_dialogue is not None and per_dialogue < len(at):
                at = [at[math.floor((i + 0.5) * len(at) / per_dialogue)] for i in range(per_dialogue)]
            chosen += [(source, shorten(turns[:i], max_chars), turns[i]) for i in at]
    return chosen


def token_logprobs(model, prompt, targets, window):
    """Log-probability (float64) of each target after the prompt, at most `window` tokens seen at a time.

    Too long: the prompt loses its left down to half a window; then the window moves on by half its length.
    """
    import torch

    ids = [*prompt, *targets]
    last = len(ids) - 1
    start = max(0, min(len(prompt) - window // 2, last - window))
    stop, position, found = min(last, start + window), len(prompt), []
    while position <= last:
        with torch.no_grad():
            logits = model(torch.tensor([ids[start:stop]])).logits[0].double()
        table = torch.log_softmax(logits, dim=-1)
        while position <= stop:
            found.append(table[position - 1 - start, ids[position]].item())
            position += 1
        stop = min(last, stop + window // 2)
        start = stop - window
    return found


def measure(model, tokenizer, replies):
    """{"bpb", "ppl"} by source, `all` and `macro`, and the number of replies."""
    window = model.config.max_position_embeddings
    sums = {}
    for source, history, reply in replies:
        messages = [{"role": ("user", "assistant")[i % 2], "content": turn} for i, turn in enumerate(history)]
        prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True)["input_ids"]
        closed = tokenizer.apply_chat_template(
            [*messages, {"role": "assistant", "content": "\N{SNOWMAN}"}], tokenize=False
        )
        end = tokenizer(closed.rpartition("\N{SNOWMAN}")[2], add_special_tokens=False)["input_ids"][0]
        targets = [*tokenizer(reply, add_special_tokens=False, split_special_tokens=True)["input_ids"], end]
        logprobs = token_logprobs(model, prompt, targets, window)
        for name in (source, "all"):
            row = sums.setdefault(name, [0.0, 0, 0.0, 0])
            row[0] -= math.fsum(logprobs)
            row[1] += len(targets)
            row[2] -= math.fsum(logprobs[:-1])
            row[3] += len(reply.encode("utf-8"))
    ppl = {name: math.exp(nll / n) for name, (nll, n, _, _) in sums.items()}
    bpb = {name: nats / math.log(2) / n_bytes for name, (_, _, nats, n_bytes) in sums.items()}
    for figures in (ppl, bpb):
        sources = [value for name, value in figures.items() if name != "all"]
        figures["macro"] = sum(sources) / len(sources)
    return {"bpb": bpb, "ppl": ppl, "replies": len(replies)}


def load(folder, adapter=None):
    """Model (fp32) and tokenizer by transformers; the adapter is put on by peft and not merged."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    if adapter is not None:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, adapter)
    return model.eval(), AutoTokenizer.from_pretrained(folder)


def read_replies(clean, params):
    """The scored replies of the test set, as params.yaml has them."""
    from datasets import Dataset

    config = params["evaluate"]
    dialogues = list(Dataset.from_file(str(clean / "test.arrow")))
    return scored(dialogues, params["data_seed"], config["dialogues"], config["max_replies"], config["history_chars"])


def main():
    import yaml

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--adapter", type=Path)
    parser.add_argument("--metrics", type=Path, default=Path("metrics/scratch.json"))
    parser.add_argument("--clean", type=Path, default=Path("data/clean"))
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    args = parser.parse_args()
    replies = read_replies(args.clean, yaml.safe_load(args.params.read_text(encoding="utf-8")))
    found = measure(*load(args.model, args.adapter), replies)
    stated = json.loads(args.metrics.read_text(encoding="utf-8"))
    for measure_name in ("bpb", "ppl"):
        for name, value in sorted(found[measure_name].items()):
            there = stated[measure_name][name]
            same = "equal" if round(value, 4) == there else "DIFFERENT"
            print(f"{measure_name}.{name:10} {value:.9f}  {args.metrics.name}: {there}  {same}")
    print(f"{found['replies']} replies")


if __name__ == "__main__":
    main()
