"""A Hugging Face model behind the two calls of evaluation: Mistral, before and after fine-tuning."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from llm.dialogue import Example, Prompt
from llm.evaluation.scoring import Score, check_lossless, encode_prompts, fit_prompt, score_targets
from llm.hub.chat import document_ids, encode_prompt, encode_reply, end_id
from llm.inference.decoding import Decoding, item_draws
from llm.inference.hub_cache import new_cache
from llm.inference.replies import Draft, Reply, TokenTexts, prompt_room, write_replies

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


# Of a pass that scores on a CPU: 512 by two threads are multiplied at the speed of 2,048, and the replies of laptop,
# scored so, take 3 % of padding instead of 22.
THREAD_TOKENS = 256
SPACE = "Ġ"  # as byte-level BPE spells it, which has a letter for each byte


def encode_asked(tokenizer: "PreTrainedTokenizerBase", prompt: Prompt) -> list[int]:
    """Ids of a prompt and of what a reply or a document begins with."""
    return encode_prompt(tokenizer, prompt.history, prompt.system) + encode_reply(tokenizer, prompt.opening)


def token_bytes(tokenizer: "PreTrainedTokenizerBase", vocab_size: int) -> list[int]:
    """How many bytes of text each id stands for: of byte-level BPE exactly, of another tokenizer at most."""
    vocab = tokenizer.get_vocab()
    found, special, byte_level = [0] * max(vocab_size, len(vocab)), set(tokenizer.all_special_ids), SPACE in vocab
    for token, i in vocab.items():
        found[i] = 0 if i in special else len(token) if byte_level else len(token.encode())
    return found


@dataclass
class CachedRows:
    """Texts whose keys and values stand in a cache, one a row."""

    model: Any
    cache: Any  # of new_cache
    mask: Tensor  # (B, S) 1 at tokens, 0 at padding
    last: Tensor  # (B,) position of the last token

    def read(self, ids: Tensor, positions: Tensor) -> Tensor:
        """Logits (B, V) behind more tokens (B, T)."""
        found = self.model(
            input_ids=ids,
            attention_mask=self.mask,
            position_ids=positions,
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=1,
        )
        return found.logits[:, -1]

    def step(self, ids: Tensor) -> Tensor:
        """Logits (B, V) behind one more token (B,) of each row."""
        limit = self.model.config.max_position_embeddings - 1  # rows that are done may have left the window
        self.mask, self.last = torch.cat([self.mask, self.mask.new_ones(len(ids), 1)], 1), self.last + 1
        return self.read(ids[:, None], self.last.clamp(max=limit)[:, None])

    def keep(self, rows: list[int]) -> None:
        """Drop all but these rows, in the cache too."""
        self.mask, self.last = self.mask[rows], self.last[rows]
        self.cache.batch_select_indices(torch.tensor(rows, device=self.mask.device))


@dataclass(frozen=True)
class HubModel:
    """A causal language model with its tokenizer and chat template."""

    name: str
    model: Any  # a causal language model of transformers, whose methods are untyped
    tokenizer: "PreTrainedTokenizerBase"
    batch_tokens: int  # tokens of a forward pass, keys and values of a batch
    # With the template in which it is asked for replies, where that is another than the one it is scored in.
    asked_by: "PreTrainedTokenizerBase | None" = None

    def __post_init__(self) -> None:
        self.model.eval()

    def loglik(self, examples: Sequence[Example]) -> list[Score]:
        """Score of each example's reply."""
        prompts = encode_prompts(examples, self._encode)
        replies = [encode_reply(self.tokenizer, example.reply) for example in examples]
        check_lossless(examples, [self.decode(reply) for reply in replies])

        body = self.model.base_model

        def forward(ids: Tensor, positions: Tensor | None, mask: Tensor | None) -> Tensor:
            return body(input_ids=ids, position_ids=positions, attention_mask=mask, use_cache=False).last_hidden_state

        window = self.model.config.max_position_embeddings
        head: Tensor = self.model.get_output_embeddings().weight
        targets = [[*reply, self._end(example.prompt)] for example, reply in zip(examples, replies, strict=True)]
        return score_targets(prompts, targets, forward, head, window, self._pass_tokens())

    def generate(self, prompts: Sequence[Prompt], decoding: Decoding, n_greedy: int = 0) -> list[Reply]:
        """What follows each prompt: a reply, or how a document goes on; of the first `n_greedy` the likeliest."""
        window, tokenizer = self.model.config.max_position_embeddings, self.asked_by or self.tokenizer
        room = prompt_room(window)
        end, close = end_id(tokenizer), document_ids(tokenizer)[1]
        draws = item_draws([prompt.texts for prompt in prompts], decoding, n_greedy)
        drafts = [
            Draft(fit_prompt(prompt, room, lambda one: encode_asked(tokenizer, one))[-room:], row, stop)
            for prompt, row in zip(prompts, draws, strict=True)
            for stop in [(end,) if prompt.history else (end, close)]
        ]
        texts = TokenTexts(token_bytes(tokenizer, self.model.config.vocab_size), self.decode)
        write_replies(drafts, decoding, texts, window, self.batch_tokens, self.read)
        return [texts.reply(draft, decoding.max_reply_bytes) for draft in drafts]

    def read(self, contexts: list[list[int]], _: int) -> tuple[CachedRows, Tensor]:
        """The contexts, padded on the left to one length, in a cache; and the logits behind them."""
        device, T = self.model.device, max(map(len, contexts))
        ids = torch.tensor([[0] * (T - len(context)) + context for context in contexts], device=device)
        columns = torch.arange(T, device=device) - torch.tensor([[T - len(c)] for c in contexts], device=device)
        rows = CachedRows(self.model, new_cache(self.model.config), (columns >= 0).long(), columns[:, -1])
        return rows, rows.read(ids, columns.clamp(min=0))

    def _pass_tokens(self) -> int:
        """Tokens of a scoring pass: on a CPU as few as are multiplied as fast as many, for less is padded then."""
        if self.model.device.type != "cpu":
            return self.batch_tokens
        return min(self.batch_tokens, THREAD_TOKENS * torch.get_num_threads())

    def _encode(self, prompt: Prompt) -> list[int]:
        return encode_asked(self.tokenizer, prompt)

    def _end(self, prompt: Prompt) -> int:
        """The id that ends a reply, or a document."""
        return end_id(self.tokenizer) if prompt.history else document_ids(self.tokenizer)[1]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids; special tokens are left out."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False))
