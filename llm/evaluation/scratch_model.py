"""A model trained here behind the two calls of evaluation."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from llm.dialogue import Example
from llm.evaluation.scoring import Score, encode_prompts, encode_replies, fit_prompt, score_targets
from llm.inference.decoding import Decoding, item_draws
from llm.inference.generate import generate, prompt_room
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
        prompts = encode_prompts(examples, self.tokenizer.encode_prompt)
        replies = encode_replies(examples, self.tokenizer)

        def forward(ids: Tensor, positions: Tensor | None, mask: Tensor | None) -> Tensor:
            return self.gpt.hidden(ids, positions, mask=mask)

        window = self.gpt.config.context_length
        targets = [[*reply, self.tokenizer.end_id] for reply in replies]
        return score_targets(prompts, targets, forward, self.gpt.head, window, self.batch_tokens)

    def generate(self, histories: Sequence[tuple[str, ...]], decoding: Decoding) -> list[str]:
        """A reply to each history; it ends at any role token."""
        tokenizer = self.tokenizer
        room = prompt_room(self.gpt.config.context_length, decoding.max_new_tokens)
        prompts = [fit_prompt(history, room, tokenizer.encode_prompt) for history in histories]
        stop = (tokenizer.end_id, tokenizer.user_id, tokenizer.assistant_id)
        draws = item_draws(histories, decoding)
        replies = generate(self.gpt, prompts, draws, decoding, stop, self.batch_tokens)
        return [tokenizer.decode(ids).strip() for ids in replies]
