"""A Hugging Face model behind the two calls of evaluation: Mistral, before and after fine-tuning."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from llm.dialogue import Example, Prompt
from llm.evaluation.scoring import Score, check_lossless, encode_prompts, fit_prompt, score_targets
from llm.hub.chat import document_ids, encode_prompt, encode_reply, end_id
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

        window = self.model.config.max_position_embeddings
        head: Tensor = self.model.get_output_embeddings().weight
        targets = [[*reply, self._end(example.prompt)] for example, reply in zip(examples, replies, strict=True)]
        return score_targets(prompts, targets, forward, head, window, self._pass_tokens())

    def generate(self, prompts: Sequence[Prompt], decoding: Decoding) -> list[str]:
        """What follows each prompt: a reply, or how a document goes on."""
        room = prompt_room(self.model.config.max_position_embeddings, decoding.max_new_tokens)
        ids = [fit_prompt(prompt, room, self._encode)[-room:] for prompt in prompts]
        draws = item_draws([prompt.texts for prompt in prompts], decoding)
        replies = [""] * len(ids)
        for batch in group_by_length([len(prompt) + decoding.max_new_tokens for prompt in ids], self.batch_tokens):
            found = self._generate_batch([ids[i] for i in batch], draws[batch], decoding)
            for i, reply in zip(batch, found, strict=True):
                end = self._end(prompts[i])  # of a document perhaps another than that of the chat
                replies[i] = self._decode(reply[: reply.index(end)] if end in reply else reply).strip()
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

    def _encode(self, prompt: Prompt) -> list[int]:
        return encode_prompt(self.tokenizer, prompt.history, prompt.system) + encode_reply(
            self.tokenizer, prompt.opening
        )

    def _end(self, prompt: Prompt) -> int:
        """The id that ends a reply, or a document."""
        return end_id(self.tokenizer) if prompt.history else document_ids(self.tokenizer)[1]

    def _decode(self, ids: list[int]) -> str:
        return str(self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))
