"""The Modelfile by which Ollama runs a gguf file: chat template in Go's form, where replies stop, how they are drawn.

Its form: https://github.com/ollama/ollama/blob/main/docs/modelfile.md.
"""

from typing import TYPE_CHECKING

from llm.hub.chat import FALLBACK_TEMPLATE, render_pieces, takes_system
from llm.hub.export import HubForm
from llm.inference.decoding import Decoding

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

DELIMITERS = ("{{", "}}", '"""')  # of Go's templates, and of the Modelfile's texts


def go_template(tokenizer: "PreTrainedTokenizerBase") -> str:
    """The chat template as a template of Go's text/template over what Ollama calls .System and .Messages.

    It is made of the pieces that the tokenizer's own template writes around the texts. A reply is followed by what
    stands between it and the next question, so that Ollama can also have a last reply gone on with. Raises ValueError
    for a template whose pieces depend on more than the roles.
    """
    template = tokenizer.chat_template or FALLBACK_TEMPLATE
    first, answer, again, answer_again, more, last = render_pieces(tokenizer, template, 5, True, False)
    system, behind, *rest = ["", "\n\n"]
    if takes_system(tokenizer):
        system, behind, *rest = render_pieces(tokenizer, template, 5, True, True)
    else:  # the text becomes the beginning of the first turn
        system, rest = first, [answer, again, answer_again, more, last]
    pieces = (first, system, behind, answer, again)
    if (again, answer, answer) != (more, answer_again, last) or rest != [answer, again, answer, again, answer]:
        raise ValueError(f"the chat template of {tokenizer.name_or_path} treats turns unlike: write TEMPLATE by hand")
    if any(mark in piece for mark in DELIMITERS for piece in pieces):
        raise ValueError(f"the chat template of {tokenizer.name_or_path} writes {' or '.join(DELIMITERS)}")
    opened = f"{{{{ if $.System }}}}{system}{{{{ $.System }}}}{behind}{{{{ else }}}}{first}{{{{ end }}}}"
    return (
        "{{ $asked := false }}{{ range .Messages }}"
        f'{{{{ if eq .Role "user" }}}}{{{{ if $asked }}}}{again}{{{{ else }}}}{opened}{{{{ end }}}}'
        f"{{{{ $asked = true }}}}{{{{ .Content }}}}{answer}"
        '{{ else if eq .Role "assistant" }}{{ .Content }}{{ end }}{{ end }}'
    )


def modelfile(gguf_name: str, form: HubForm, decoding: Decoding | None) -> str:
    """The Modelfile's text; without `decoding` the drawing is left to Ollama's defaults."""
    lines = [f"FROM ./{gguf_name}", f'TEMPLATE """{go_template(form.tokenizer)}"""']
    lines += [f'PARAMETER stop "{stop}"' for stop in stop_texts(form)]
    lines += [f"PARAMETER num_ctx {form.network.config.max_position_embeddings}"]
    if decoding is not None:
        lines += [
            f"PARAMETER temperature {decoding.temperature}",
            f"PARAMETER top_k {decoding.top_k}",
            f"PARAMETER top_p {decoding.top_p}",
            f"PARAMETER repeat_penalty {decoding.repetition_penalty}",
        ]
    return "\n".join(lines) + "\n"


def stop_texts(form: HubForm) -> list[str]:
    """The special tokens that end a reply. Raises ValueError for one that would end its line in the Modelfile."""
    ids = form.network.generation_config.eos_token_id
    stops = [str(form.tokenizer.convert_ids_to_tokens(i)) for i in ([ids] if isinstance(ids, int) else ids)]
    if unfit := [stop for stop in stops if '"' in stop or not stop.isprintable()]:
        raise ValueError(f"the token {unfit[0]!r}, which ends a reply, cannot stand in a Modelfile: write it by hand")
    return stops
