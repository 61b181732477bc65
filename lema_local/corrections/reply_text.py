r"""The part of a model's reply that answers, in plain lines: before anything else is read in it.

Models reason before they answer, wrap the answer in code fences and tables, and print their own control tokens. Pure;
one linear pass, whatever comes.

    >>> own_text("<think>42 + 9? No.</think>Step 2.<|im_end|>")
    'Step 2.'
    >>> own_text("<think>42 + 9? Let me see") is None
    True
    >>> plain_lines("```text\n| Step | Sum |\n|---|---|\n| Step 2 | 42 - 9 = 33 |\n```")
    ['Step 2: 42 - 9 = 33']
"""

import re

from lema_local.answers.reasoning import without_reasoning

# a chat template's own tokens: text after one is not the model's turn, and in training data one would end a turn
_CONTROL = re.compile(r"<\|[\w-]{2,60}\|>|<｜[^｜<>\n]{2,60}｜>|</?s>|<(?:start|end)_of_turn>|\[/?INST\]|<</?SYS>>")
# those, and what else tokenizers read as one token that is no text: Llama, Qwen, Mistral, Gemma, SmolLM2, StarCoder ...
_SPECIAL = re.compile(
    rf"{_CONTROL.pattern}|<\|[\w-]{{2,60}}>|<[\w-]{{2,60}}\|>|<(?:start|end)_of_image>|<image_soft_token>"
    r"|(?i:<(?:bos|eos|eop|eot|pad|unk|mask|cls|sep|unused\d{1,4})(?:_token)?>)|<(?:PRE|MID|SUF)>"
    r"|<(?:repo_?name|file_sep|filename|gh_stars|issue_(?:start|comment|closed)|empty_output|pr"
    r"|jupyter_(?:start|text|code|output|script)|(?:fim|pr|commit)_[a-z_]{2,30})>"
    r"|\[(?:/?(?:TOOL_CALLS|AVAILABLE_TOOLS|TOOL_RESULTS)|PAD|UNK|CLS|SEP|[gs]?MASK|multimodal|control_\d{1,4})\]"
)
# control characters, zero-width and direction marks: nothing that a reader sees, and they would train
_NOISE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff]")
_FENCE = re.compile(r"(?:`{3,8}|~{3,8})[\w-]{0,16}$")
_RULE = re.compile(r"[-:=_*| ]{3,400}$")
_HEADER = re.compile(r"(?:step|no\.?|#|number|description|calculation|sum|work|part|section|field|content|details?)s?")
_BREAK = re.compile(r"<br ?/?>", re.IGNORECASE)
_MARKS = " *_`"
_MAX_CELLS = 12


def own_text(text: str) -> str | None:
    """The reply without its reasoning, from its first to its next control token, without characters that nobody sees;
    None where the reasoning was never closed: the answer was cut off (answers/reasoning.py decides)."""
    own = without_reasoning(visible(text))
    if own is None:
        return None
    start = 0
    for token in _CONTROL.finditer(own):
        if own[start : token.start()].strip():
            return own[start : token.start()].strip()
        start = token.end()
    return own[start:].strip()


def visible(text: str) -> str:
    """A text without the characters that nobody sees."""
    return _NOISE.sub("", text)


def has_special_token(text: str) -> bool:
    """Whether a text spells a token that a student's tokenizer reads as one: the end of a turn, of a text. It may come
    from escapes of JSON, or from marks that were taken away around it."""
    return _SPECIAL.search(text) is not None


def plain_lines(text: str) -> list[str]:
    """The lines of a text, without blank ones and code fences; a table's rows become lines "first cell: the rest"."""
    lines: list[str] = []
    header: list[str] | None = None
    for raw in text.splitlines():
        line = raw.strip()
        if not line or _FENCE.match(line):
            continue
        if not (line.startswith("|") and line.endswith("|") and len(line) > 2):
            header = None
            lines.append(line)
            continue
        cells = [cell.strip(_MARKS) for cell in line[1:-1].split("|", _MAX_CELLS)]
        if _RULE.match(line):
            continue
        if header is None:
            header = cells
            if len(cells) > 2 or _is_header(cells):
                continue
        lines += _row(cells, header)
    return lines


def _is_header(cells: list[str]) -> bool:
    return all(_HEADER.fullmatch(cell.lower()) or not cell for cell in cells)


def _row(cells: list[str], header: list[str]) -> list[str]:
    """A row under named columns is read by its columns, another one by its first cell."""
    if len(cells) > 2 and len(cells) == len(header) and any("xplanation" in cell for cell in header):
        pairs = list(zip(header, cells, strict=True))
    else:
        first = f"Step {cells[0]}" if cells[0].isdecimal() else cells[0]
        pairs = [(first, " ".join(cell for cell in cells[1:] if cell))]
    lines: list[str] = []
    for name, cell in pairs:
        text, *more = _BREAK.split(cell)
        lines += [f"{name}: {text}", *more]
    return lines
