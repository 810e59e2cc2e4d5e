"""Perplexity and bits per byte by another path: plain transformers and peft, one reply at a time, nothing of `llm`.

    python -m llm export scratch DIR && python -m tests.recompute DIR
    python -m tests.recompute models/base --adapter models/mistral --name mistral

It reads the cleaned test set and params.yaml, draws the replies as README and params.yaml define them, and prints what
it finds beside the committed figures. The definitions are written down a second time here on purpose: a mistake in
testset.py, scoring.py, perplexity.py or likelihood.py of llm/ cannot repeat itself by import.
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


def whole_words(text, max_chars):
    """The words at the end of a text that have so many characters together; none where the last one has more."""
    text = text.rstrip()
    if len(text) <= max_chars:
        return text
    tail = text[len(text) - max(0, max_chars) :]
    if text[: len(text) - len(tail)][-1:].isspace():
        return tail.lstrip()
    return "".join(re.split(r"\s+(?=\S)", tail, maxsplit=1)[1:])


def shorten(history, max_chars):
    """The last turns of at most `max_chars` characters, user first; of the first one that is too long, its end."""
    *earlier, last = history
    if len(last) > max_chars:
        return [whole_words(last, max_chars) or last[-max_chars:]]
    kept, room = [last], max_chars - len(last)
    while earlier:
        *earlier, user, assistant = earlier
        if len(user) + len(assistant) <= room:
            kept, room = [user, assistant, *kept], room - len(user) - len(assistant)
            continue
        if len(assistant) < room:
            kept = [whole_words(user, room - len(assistant)) or "\N{HORIZONTAL ELLIPSIS}", assistant, *kept]
        elif words := whole_words(assistant, room - 1):
            kept = ["\N{HORIZONTAL ELLIPSIS}", words, *kept]
        break
    return kept


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


def score(model, tokenizer, replies):
    """(source, nats of the reply, nats of its end token, tokens, bytes) of each reply, one after the other."""
    window = model.config.max_position_embeddings
    for source, history, reply in replies:
        messages = [{"role": ("user", "assistant")[i % 2], "content": turn} for i, turn in enumerate(history)]
        prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True)["input_ids"]
        mark = {"role": "assistant", "content": "\N{SNOWMAN}"}
        closing = tokenizer.apply_chat_template([*messages, mark], tokenize=False).rpartition("\N{SNOWMAN}")[2]
        end = tokenizer(closing, add_special_tokens=False)["input_ids"][0]
        targets = [*tokenizer(reply, add_special_tokens=False, split_special_tokens=True)["input_ids"], end]
        *text, last = token_logprobs(model, prompt, targets, window)
        yield source, -math.fsum(text), -last, len(text), len(reply.encode("utf-8"))


def scores_of(path, model):
    """The same of every reply in metrics/scores.jsonl: what evaluation found, to the last digit."""
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if row["model"] == model and row["kind"] == "reply":
            yield row["source"], -row["logprob"], -row["end_logprob"], row["n_tokens"], row["bytes"]


def figures(scores):
    """{"bpb", "ppl"} by source, `all` and `macro`, and the number of replies."""
    sums, n = {}, 0
    for source, nats, end_nats, n_tokens, n_bytes in scores:
        n += 1
        for name in (source, "all"):
            row = sums.setdefault(name, [0.0, 0, 0.0, 0])
            for i, value in enumerate((nats + end_nats, n_tokens + 1, nats, n_bytes)):
                row[i] += value
    ppl = {name: math.exp(nll / tokens) for name, (nll, tokens, _, _) in sums.items()}
    bpb = {name: nats / math.log(2) / n_bytes for name, (_, _, nats, n_bytes) in sums.items()}
    for found in (ppl, bpb):
        sources = [value for name, value in found.items() if name != "all"]
        found["macro"] = sum(sources) / len(sources)
    return {"bpb": bpb, "ppl": ppl, "replies": n}


def measure(model, tokenizer, replies):
    """The figures of a model, by the slow way."""
    return figures(score(model, tokenizer, replies))


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
    parser.add_argument("--name", default="scratch", help="what the model is called in metrics/")
    parser.add_argument("--project", type=Path, default=Path(), help="the folder of params.yaml, data/ and metrics/")
    args = parser.parse_args()
    replies = read_replies(
        args.project / "data/clean", yaml.safe_load((args.project / "params.yaml").read_text(encoding="utf-8"))
    )
    found = measure(*load(args.model, args.adapter), replies)
    stated = figures(scores_of(args.project / "metrics/scores.jsonl", args.name))
    for kind in ("bpb", "ppl"):
        for name, value in sorted(found[kind].items()):
            there = stated[kind][name]
            print(f"{kind}.{name:10} {value:14.9f}  evaluated {there:14.9f}  {value / there - 1:+.1e}")
    print(f"{found['replies']} replies, {stated['replies']} evaluated")


if __name__ == "__main__":
    main()
