r"""Which part of a reply is the model's own answer, and which is reasoning before it: decided here for everyone.

Grading, corrections, evolution and judging all read what this leaves. A reply whose reasoning never closed was cut off
before it answered: whatever stands in it, it has no answer.

    >>> without_reasoning("<think>Is it 42? No.</think>The answer is 9.")
    'The answer is 9.'
    >>> without_reasoning("<think>The answer is 42. But wait,") is None
    True
    >>> without_reasoning("<|channel|>analysis<|message|>42?<|end|><|start|>assistant<|channel|>final<|message|>9")
    '9'
"""

import re

_WORD = r"think|thinking|thoughts?|reasoning|reflection|scratchpad|monologue|antthinking"
_TAG = rf"(?:[a-z]{{1,12}}[:_])?(?:{_WORD})(?:\s[^<>]{{0,80}})?"  # <think>, <seed:think>, <longcat_think>
_OPENS = (
    rf"<{_TAG}>",  # DeepSeek-R1, Qwen3 and most others
    r"(?-i:\[THINK\])",  # Magistral
    r"◁think▷",  # Kimi
    rf"<\|(?:(?:begin|start)_of_|start_)(?:{_WORD})\|>",  # Sky-T1, Command A
    r"<unused94>thought",  # MedGemma
    r"<\|inner_prefix\|>",  # Apertus
    r"<\|channel>\s?thought",  # Gemma
    r"<\|channel\|>\s?(?!final\b)[a-z]{1,20}\b",  # gpt-oss: every channel but `final`
    r"\A\s*(?-i:analysis(?=[A-Z]))",  # the same, where a server dropped the special tokens
    r"\A\s*Here(?: is|'s) my thought process:",  # Granite
)
_CLOSES = (
    rf"</{_TAG}>", r"(?-i:\[/THINK\])", r"◁/think▷", rf"<\|end_(?:of_)?(?:{_WORD})\|>", r"<unused95>",
    r"<\|inner_suffix\|>", r"<channel\|>",
)  # fmt: skip
# the answer begins, whatever was open
_ANSWERS = (
    r"<\|channel\|>\s?final\b[^<\n]{0,40}(?:<\|constrain\|>[^<\n]{0,40})?(?:<\|message\|>)?",
    r"assistantfinal", r"<\|begin_of_solution\|>", r"<\|START_RESPONSE\|>", r"Here(?: is|'s) my response:",
)  # fmt: skip
_MARKER = re.compile(
    rf"(?P<opens>{'|'.join(_OPENS)})|(?P<closes>{'|'.join(_CLOSES)})|(?P<answers>{'|'.join(_ANSWERS)})"
    r"|<\|end\|>",  # harmony's end of a message, other models' end of a turn
    re.IGNORECASE,
)
_BEGINNINGS = ("analysis", "Here", " ", "\n", "\t")
_NAME = re.compile(_WORD, re.IGNORECASE)


def without_reasoning(text: str) -> str | None:
    """What a reply says outside its reasoning; None where reasoning was begun and never closed.

    A block is closed by the marker of its own name, or by any where its own never came; the same name does not nest.
    What closes without having been opened was opened by the chat template: all that stands before it is reasoning.
    """
    if "<" not in text and "THINK]" not in text and "◁" not in text and not text.startswith(_BEGINNINGS):
        return text  # spares most texts the search
    own: list[str] = []
    opened: list[str] = []
    start = 0
    for marker in _MARKER.finditer(text):
        if not opened:
            own.append(text[start : marker.start()])
        start = marker.end()
        name = _NAME.search(marker[0])
        called = name[0].lower() if name else ""
        if marker["opens"]:
            if called not in opened:
                opened.append(called)
        elif marker["answers"]:
            own, opened = [], []
        elif opened:
            opened = opened[: opened.index(called)] if called in opened else []
        elif marker["closes"]:
            own = []
    if opened:
        return None
    return " ".join(part for part in [*own, text[start:]] if part)
