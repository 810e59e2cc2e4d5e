"""A model trained here behind the two calls of evaluation."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from llm.dialogue import Example, Prompt
from llm.evaluation.scoring import (
    Score,
    encode_prompts,
    encode_replies,
    encoder,
    fit_prompt,
    reply_logprobs,
    score_targets,
)
from llm.inference.decoding import Decoding, item_draws
from llm.inference.generate import generate
from llm.inference.likelihood import Floats, cut_windows
from llm.inference.replies import Reply, TokenTexts, prompt_room
from llm.models.gpt import GPT
from llm.models.llama import Llama
from llm.tokens.tokenizer import Tokenizer


@dataclass(frozen=True)
class ScratchModel:
    """A model trained here, with the tokenizer it was trained on."""

    name: str
    gpt: GPT | Llama
    tokenizer: Tokenizer
    batch_tokens: int  # tokens of a forward pass, keys and values of a batch

    def __post_init__(self) -> None:
        self.gpt.eval()

    def loglik(self, examples: Sequence[Example]) -> list[Score]:
        """Score of each example's reply."""
        prompts, targets = self._encode(examples)
        window = self.gpt.config.context_length
        return score_targets(prompts, targets, self._forward, self.gpt.head, window, self.batch_tokens)

    def token_logprobs(self, examples: Sequence[Example]) -> list[Floats]:
        """Log-probabilities (nats) of the tokens of each example's reply, the end token's last."""
        window = self.gpt.config.context_length
        cut = [cut_windows(*ids, window) for ids in zip(*self._encode(examples), strict=True)]
        found = reply_logprobs(cut, self._forward, self.gpt.head, self.batch_tokens)
        return [np.concatenate(windows) for windows in found]

    def generate(self, prompts: Sequence[Prompt], decoding: Decoding, n_greedy: int = 0) -> list[Reply]:
        """What follows each prompt, of the first `n_greedy` the likeliest; it ends at any role token."""
        tokenizer = self.tokenizer
        room = prompt_room(self.gpt.config.context_length)
        ids = [fit_prompt(prompt, room, encoder(tokenizer)) for prompt in prompts]
        draws = item_draws([prompt.texts for prompt in prompts], decoding, n_greedy)
        texts = TokenTexts(tokenizer.token_bytes(), tokenizer.decode)
        drafts = generate(self.gpt, ids, draws, decoding, tokenizer.role_ids, texts, self.batch_tokens)
        return [texts.reply(draft, decoding.max_reply_bytes) for draft in drafts]

    def _encode(self, examples: Sequence[Example]) -> tuple[list[list[int]], list[list[int]]]:
        """Ids of each example's prompt, and of its reply with the end token."""
        replies = encode_replies(examples, self.tokenizer)
        prompts = encode_prompts(examples, encoder(self.tokenizer))
        return prompts, [[*reply, self.tokenizer.end_id] for reply in replies]

    def _forward(self, ids: Tensor, positions: Tensor | None, mask: Tensor | None) -> Tensor:
        return self.gpt.hidden(ids, positions, mask=mask)
