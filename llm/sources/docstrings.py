"""Docstrings of installed libraries, read from their sources without importing them, as plain sentences."""

import ast
import inspect
import re
from collections.abc import Sequence
from pathlib import Path

_SECTION = re.compile(
    r"^(?:Args?|Arguments|Parameters?|Keyword [Aa]rg(?:ument)?s|Shape|Returns?|Yields|Raises|Examples?|Attributes|"
    r"Variables|Inputs?|Outputs?|See [Aa]lso|References|Notes?|Warnings?|Warns|Methods|Supported .*|Definition)"
    r"\s*:{0,2}$"
)
_UNDERLINE = re.compile(r"^\s*[-=~^+|][-=~^+| ]{2,}$")
_NO_PROSE = re.compile(r"^(?:\s|\.\.|>>>|[-*+] |\(?\d+[.)] )")  # directives, indented blocks, doctests, lists
_SIGNATURE = re.compile(r"^[\w.]+\(.*?\)(?:\s*->\s*.*)?$", re.DOTALL)
_ROLE = re.compile(r":[a-z:]+:`([^`]*)`")
_LINK = re.compile(r"`([^`<>]+?)\s*<[^`<>]*>`_{0,2}")
# A sentence that leans on what was left out: "See Conv2d.", "Read more in the User Guide.", "in the example below".
_POINTER = re.compile(
    r"^(?:See|Refer|Read more|For (?:more|further|an? |details)|Please|Check|Examples?|Alias)\b"
    r"|\b(?:see|refer to|check) (?:the |also )?(?:torch|sklearn|documentation|[Nn]otes?|above|below|Section)\b"
    r"|\b(?:below|above|following|as follows|User Guide|[Gg]lossary|this (?:page|link)|documentation|deprecated|ROCm)\b"
)
_LEANING = re.compile(
    r"^(?:Therefore|Thus|Hence|Then|This|That|These|Those|It|They|In (?:this|that|such|both|plain|other)|Same|However|"
    r"First|Second|Finally|Such|Otherwise|Here|Also|Similarly|Instead|Its|Their|Both|As a result|Consequently|But|And|"
    r"So|Furthermore|Moreover|Where|For example|Alternatively|Compared|On the other hand|When this|"
    r"If (?:so|not|it|this)|The (?:former|latter|other|second|same|result))\b"
)
_MARKUP = re.compile(r"https?:|\(see\b|e\.g\.\.|\bin,|\b(?:from|on|in|by|of|to|see)\.$|[\\`{}|]|::|>>>|\w_ |\.\. ")
_PLACEHOLDER = re.compile(r"(?<!\{)\{\w*\}(?!\})")
_LATEX = (
    (re.compile(r"\\(?:text|texttt|mathrm|mathbf|mathit|mathbb|mathcal|operatorname|textbf)\*?\{([^{}]*)\}"), r"\1"),
    (re.compile(r"\\frac\{([^{}]*)\}\{([^{}]*)\}"), r"(\1) / (\2)"),
    (re.compile(r"\\sqrt\{([^{}]*)\}"), r"sqrt(\1)"),
    (re.compile(r"\\(?:left|right)|\\[,;! ]"), ""),
    (re.compile(r"\\times|\\cdot"), "*"),
    (re.compile(r"\\(?:leq?)\b"), "<="),
    (re.compile(r"\\(?:geq?)\b"), ">="),
    (re.compile(r"\\infty"), "inf"),
    (re.compile(r"\\in\b"), "in"),
    (re.compile(r"\\(?:ldots|dots|cdots)"), "..."),
    (
        re.compile(r"\\(alpha|beta|gamma|delta|epsilon|lambda|mu|sigma|theta|pi|log|exp|max|min|sum|sin|cos|tanh?)\b"),
        r"\1",
    ),
    (re.compile(r"\\_"), "_"),
    (re.compile(r"([_^])\{(\w+)\}"), r"\1\2"),
)


def read_docstrings(path: Path) -> dict[str, str]:
    """Docstring by name of a source file's classes and functions and of what `add_docstr` describes there."""
    found: dict[str, str] = {}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        name, text = _documented(node)
        if name and text:
            found[name] = _without_signature(inspect.cleandoc(text)).strip()
    return found


def _documented(node: ast.stmt) -> tuple[str | None, str | None]:
    """Name and docstring of a statement: def, class, `x = add_docstr(torch.x, text)`, `X.__doc__ = text`."""
    if isinstance(node, ast.ClassDef | ast.FunctionDef):
        return node.name, ast.get_docstring(node, clean=False)
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Attribute):
        target = node.targets[0]
        if target.attr == "__doc__" and isinstance(target.value, ast.Name):
            return target.value.id, _text(node.value)
    if isinstance(node, ast.Expr | ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Call):
        call = node.value
        if ast.unparse(call.func).endswith("add_docstr") and len(call.args) == 2:
            name = node.targets[0] if isinstance(node, ast.Assign) else call.args[0]
            return ast.unparse(name).rpartition(".")[2], _text(call.args[1])
    return None, None


def _text(node: ast.expr) -> str | None:
    """The string an expression spells; what `format` and f-strings would fill in is left out."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) for part in node.values if isinstance(part, ast.Constant))
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return (_text(node.left) or "") + (_text(node.right) or "")
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "format":
        template = _text(node.func.value)
        return _PLACEHOLDER.sub("", template).replace("{{", "{").replace("}}", "}") if template else None
    return None


def _without_signature(text: str) -> str:
    """The docstring without its first paragraph where that is the call: "abs(input, *, out=None) -> Tensor"."""
    head, _, rest = text.partition("\n\n")
    return rest if _SIGNATURE.match(head.strip()) else text


def sentences(docstring: str) -> list[str]:
    """The descriptive sentences of a docstring as plain text, with "" where something was left out.

    Left out are sections (parameters, shapes, examples), directives, formulas, code, tables, and sentences that lead
    up to one of them, point elsewhere, or hold mark-up that has no plain form.
    """
    found: list[str] = []
    for paragraph, is_prose in _paragraphs(docstring):
        if is_prose:
            found.extend(_split_sentences(_plain(paragraph)))
        else:
            if found and not found[-1].endswith((".", "!", "?", ")")):
                found.pop()
            found.append("")
    return [sentence if _stands_alone(sentence) else "" for sentence in found]


def without_gaps(found: Sequence[str]) -> list[str]:
    """The sentences that are there, but none that leans on a gap before it; nothing when the first one is a gap.

    >>> without_gaps(["A loss.", "", "It is therefore small.", "Targets are classes."])
    ['A loss.', 'Targets are classes.']
    """
    kept: list[str] = []
    after_gap = False
    for sentence in found:
        after_gap = not sentence or (after_gap and _LEANING.match(sentence) is not None)
        if not after_gap:
            kept.append(sentence)
    return kept if found and found[0] else []


def _stands_alone(sentence: str) -> bool:
    whole = sentence.endswith((".", "!", "?", ")")) and not re.match(r"[a-z]", sentence)
    balanced = sentence.count("(") == sentence.count(")") and sentence.count('"') % 2 == 0
    return whole and balanced and not _POINTER.search(sentence) and not _MARKUP.search(sentence)


def _paragraphs(docstring: str) -> list[tuple[str, bool]]:
    """Paragraphs before the first section, each with whether it is prose."""
    paragraphs: list[tuple[str, bool]] = []
    for block in re.split(r"\n\s*\n", docstring):
        lines = block.split("\n")
        end = next((i for i, line in enumerate(lines) if _SECTION.match(line) or _UNDERLINE.match(line)), len(lines))
        if end < len(lines) and _UNDERLINE.match(lines[end]):
            end = max(0, end - 1)
        if lines[:end]:
            is_prose = not any(_NO_PROSE.match(line) for line in lines[:end])
            paragraphs.append((" ".join(lines[:end]), is_prose))
        if end < len(lines):
            break
    return paragraphs


def _plain(text: str) -> str:
    """Restructured text without its mark-up."""
    text = _LINK.sub(r"\1", _ROLE.sub(_role_text, re.sub(r"(?<=`) s\b", "s", text)))  # :class:`Module` s
    text = re.sub(r"``([^`]*)``", r"\1", text)
    text = re.sub(r"`([^`]*)`_{0,2}", r"\1", text)
    text = re.sub(r"\s*\[\w+\]_|\s\[\d+\](?=[\s.,;])|~(?=\w)", "", text)  # citations, ~name
    text = re.sub(r"(?<!\w)\*{1,2}(\w[^*]*?)\*{1,2}(?!\w)", r"\1", text)
    return re.sub(r" +([.,;:)])", r"\1", " ".join(text.replace("::", ":").split()))


def _role_text(match: re.Match[str]) -> str:
    """A role's visible text: title of "title <target>", name of "~a.b.name", a formula in plain letters."""
    text = match[1]
    if match[0].startswith(":math:"):
        for pattern, plain in _LATEX:
            text = pattern.sub(plain, text)
        return text.strip()
    titled = re.match(r"(.+?)\s*<[^<>]+>$", text)
    if titled:
        return titled[1]
    return text.rpartition(".")[2] if text.startswith("~") else text


def _split_sentences(text: str) -> list[str]:
    """Sentences of a paragraph; "e.g." and the like end none.

    >>> _split_sentences("Drops units, e.g. half. See Fig. 2. Done")
    ['Drops units, e.g. half.', 'See Fig. 2.', 'Done']
    """
    parts = re.split(
        r"(?<=[.!?])(?<!e\.g\.)(?<!i\.e\.)(?<!etc\.)(?<!cf\.)(?<!vs\.)(?<!Fig\.)(?<!al\.)\s+(?=[A-Z(\"'])", text
    )
    return [part.strip() for part in parts if part.strip()]
