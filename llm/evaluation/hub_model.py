"""A Hugging Face model behind the two calls of evaluation: Mistral, before and after fine-tuning."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from llm.dialogue import Example
from llm.evaluation.hub_generate import generate_ids
from llm.evaluation.scoring import Score, check_lossless, encode_prompts, fit_prompt, score_targets
from llm.hub.pretrained import encode_prompt, encode_reply, end_id
from llm.inference.decoding import Decoding, item_draws
from llm.inference.generate import prompt_room

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Of a pass on a CPU: 512 by two threads are multiplied at the speed of 2,048, and the replies of laptop, scored so,
# take 3 % of padding instead of 22.
THREAD_TOKENS = 256


@dataclass(frozen=True)
class HubModel:
    """A causal language model with its tokenizer and chat template."""

    name: str
    model: Any  # a causal language model of transformers, whose methods are untyped
    tokenizer: "PreTrainedTokenizerBase"
    batch_tokens: int  # tokens of a forward pass at most

    def __post_init__(self) -> None:
        self.model.eval()

    def loglik(self, examples: Sequence[Example]) -> list[Score]:
        """Score of each example's reply."""
        prompts = encode_prompts(examples, self._encode)
        replies = [encode_reply(self.tokenizer, example.reply) for example in examples]
        check_lossless(examples, [self._decode(reply) for reply in replies])

        body = self.model.base_model

        def forward(ids: Tensor, positions: Tensor | None, mask: Tensor | None) -> Tensor:
            return body(input_ids=ids, position_ids=positions, attention_mask=mask, use_cache=False).last_hidden_state

        end, window = end_id(self.tokenizer), self.model.config.max_position_embeddings
        head: Tensor = self.model.get_output_embeddings().weight
        targets = [[*reply, end] for reply in replies]
        return score_targets(prompts, targets, forward, head, window, self._pass_tokens())

    def generate(self, histories: Sequence[tuple[str, ...]], decoding: Decoding) -> list[str]:
        """A reply to each history."""
        config = self.model.config
        window = min(config.max_position_embeddings, getattr(config, "sliding_window", None) or math.inf)
        room = prompt_room(int(window), decoding.max_new_tokens)
        prompts = [fit_prompt(history, room, self._encode)[-room:] for history in histories]
        draws, end = item_draws(histories, decoding), end_id(self.tokenizer)
        replies = generate_ids(self.model, prompts, draws, decoding, end, self._pass_tokens())
        return [self._decode(ids).strip() for ids in replies]

    def _pass_tokens(self) -> int:
        """Tokens of a forward pass: on a CPU as few as are multiplied as fast as many, for less is padded then."""
        if self.model.device.type != "cpu":
            return self.batch_tokens
        return min(self.batch_tokens, THREAD_TOKENS * torch.get_num_threads())

    def _encode(self, history: Sequence[str]) -> list[int]:
        return encode_prompt(self.tokenizer, history)

    def _decode(self, ids: list[int]) -> str:
        return str(self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))
