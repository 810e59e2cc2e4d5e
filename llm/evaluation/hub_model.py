"""A Hugging Face model behind the two calls of evaluation: Mistral, before and after fine-tuning."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from llm.dialogue import Example
from llm.evaluation.scoring import Score, check_lossless, encode_prompts, fit_prompt, score_targets
from llm.hub.chat import encode_prompt, encode_reply, end_id
from llm.inference.decoding import Decoding, item_draws, mark_seen, next_ids
from llm.inference.generate import prompt_room
from llm.inference.likelihood import group_by_length

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


# Of a pass that scores on a CPU: 512 by two threads are multiplied at the speed of 2,048, and the replies of laptop,
# scored so, take 3 % of padding instead of 22.
THREAD_TOKENS = 256


@dataclass(frozen=True)
class HubModel:
    """A causal language model with its tokenizer and chat template."""

    name: str
    model: Any  # a causal language model of transformers, whose methods are untyped
    tokenizer: "PreTrainedTokenizerBase"
    batch_tokens: int  # tokens of a forward pass, keys and values of a batch

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
        room = prompt_room(self.model.config.max_position_embeddings, decoding.max_new_tokens)
        prompts = [fit_prompt(history, room, self._encode)[-room:] for history in histories]
        draws = item_draws(histories, decoding)
        replies = [""] * len(prompts)
        for batch in group_by_length([len(prompt) + decoding.max_new_tokens for prompt in prompts], self.batch_tokens):
            found = self._generate_batch([prompts[i] for i in batch], draws[batch], decoding)
            for i, ids in zip(batch, found, strict=True):
                replies[i] = self._decode(ids).strip()
        return replies

    @torch.inference_mode()
    def _generate_batch(self, prompts: list[list[int]], draws: Tensor, decoding: Decoding) -> list[list[int]]:
        """Reply ids of prompts padded on the left to one length."""
        from transformers import GenerationConfig

        T, end, device = max(map(len, prompts)), end_id(self.tokenizer), self.model.device
        ids = torch.tensor([[end] * (T - len(prompt)) + prompt for prompt in prompts], device=device)
        lengths = torch.tensor([len(prompt) for prompt in prompts], device=device)
        seen = mark_seen(prompts, self.model.config.vocab_size).to(device)
        config = GenerationConfig(  # type: ignore[no-untyped-call]
            max_new_tokens=decoding.max_new_tokens,
            do_sample=False,  # `choose` samples, item by item
            num_beams=1,
            repetition_penalty=1.0,  # ours is in `choose`; a checkpoint's own default must not come in
            eos_token_id=end,
            pad_token_id=end,
        )

        def choose(ids: Tensor, logits: Tensor) -> Tensor:
            """Logits that leave only the chosen token."""
            now = None if decoding.repetition_penalty == 1 else seen.scatter(1, ids[:, T:], True)
            stop = torch.tensor([end], device=device)
            chosen = next_ids(logits, now, stop, draws[:, ids.size(1) - T].to(device), decoding)
            return torch.full_like(logits, -torch.inf).scatter(1, chosen[:, None], 0.0)

        output = self.model.generate(
            ids,
            attention_mask=(torch.arange(T, device=device) >= T - lengths[:, None]).long(),
            generation_config=config,
            logits_processor=[choose],
        )
        return [reply[: reply.index(end)] if end in reply else reply for reply in output[:, T:].tolist()]

    def _pass_tokens(self) -> int:
        """Tokens of a scoring pass: on a CPU as few as are multiplied as fast as many, for less is padded then."""
        if self.model.device.type != "cpu":
            return self.batch_tokens
        return min(self.batch_tokens, THREAD_TOKENS * torch.get_num_threads())

    def _encode(self, history: Sequence[str]) -> list[int]:
        return encode_prompt(self.tokenizer, history)

    def _decode(self, ids: list[int]) -> str:
        return str(self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))
