"""A chat model's own template, as what stands around a question and ends its answer. Pure.

    chat_frame(template, bos_text="", eos_text="<|im_end|>")          # of Qwen 2.5's
    # ChatFrame(before="<|im_start|>system\\nYou are Qwen...<|im_end|>\\n<|im_start|>user\\n",
    #           between="<|im_end|>\\n<|im_start|>assistant\\n", end="<|im_end|>")

The template is rendered once, around marks in the place of the texts, and never by a server: so the ids that train are
those that are served, on any day (a template that asks for today's date takes the one it has for want of any) and by
any server. What it says where no system text is given is part of it. Texts go in without space at their ends, which
many templates take away.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from lema_local.errors import MissingPackageError, ProfileError
from lema_local.records.keys import content_key

MOST_CHARACTERS = 200_000  # of a template, and of what it makes of two short texts
_ASKED, _ANSWERED = "LemaAsksThis", "LemaHearsThis"


@dataclass(frozen=True)
class ChatFrame:
    """`before` + question + `between` is what the model reads; `end` is the token that closes its answer."""

    before: str
    between: str
    end: str

    @cached_property
    def id(self) -> str:
        """What makes two frames the same: all three texts."""
        return content_key("chat_frame", self.before, self.between, self.end)

    @property
    def mark(self) -> str:
        """Its id in short, for the identity of what is asked with it."""
        return f"chat-{self.id[:8]}"

    def around(self, question: str) -> str:
        """What the model reads."""
        return f"{self.before}{question.strip()}{self.between}"

    def holds(self, prompt: str) -> bool:
        """Whether a text is a question in this frame."""
        long_enough = len(prompt) >= len(self.before) + len(self.between)
        return long_enough and prompt.startswith(self.before) and prompt.endswith(self.between)

    def inside(self, prompt: str) -> str:
        """The question in a text that it holds."""
        return prompt.removeprefix(self.before).removesuffix(self.between)


def chat_frame(
    template: str, *, bos_text: str, eos_text: str, adds_bos: bool = False, system: str | None = None
) -> ChatFrame:
    """The frame of a Jinja template, with a system text of the user's or the template's own.

    `adds_bos`: the tokenizer puts its BOS before any text by itself, so the template's is left out. ProfileError, one
    line, for a template that cannot be rendered, takes no system text, or does not show both texts once and whole.
    """
    if len(template) > MOST_CHARACTERS:
        raise ProfileError(f"The chat template has over {MOST_CHARACTERS} characters: none that a model needs.")
    asked = [*([{"role": "system", "content": system}] if system else []), {"role": "user", "content": _ASKED}]
    rendered = _compiled(template)
    special = {"bos_token": bos_text, "eos_token": eos_text}
    prompt = _render(rendered, asked, special, has_system=bool(system), add_generation_prompt=True)
    whole = _render(
        rendered,
        [*asked, {"role": "assistant", "content": _ANSWERED}],
        special,
        has_system=bool(system),
        add_generation_prompt=False,
    )
    if prompt.count(_ASKED) != 1 or whole.count(_ANSWERED) != 1 or (system and system.strip() not in prompt):
        raise ProfileError("The chat template does not show each text once and whole: it cannot train.")
    before, _, between = prompt.partition(_ASKED)
    after = whole.partition(_ANSWERED)[2].split()
    return ChatFrame(before.removeprefix(bos_text) if adds_bos else before, between, (after or [eos_text])[0])


def _render(
    template: Any, messages: Sequence[dict[str, str]], special: dict[str, str], *, has_system: bool, **given: bool
) -> str:
    from jinja2 import TemplateError

    # as transformers gives them; `enable_thinking`: a student answers at once
    names = {"tools": None, "documents": None, "enable_thinking": False}
    parts, length = [], 0
    try:
        for part in template.generate(messages=messages, **names, **special, **given):
            parts.append(part)
            length += len(part)
            if length > MOST_CHARACTERS:
                raise ProfileError(f"The chat template makes over {MOST_CHARACTERS} characters of two short texts.")
    except (TemplateError, TypeError, ValueError, LookupError, ArithmeticError) as error:
        reason = " ".join(str(error).split())[:120]
        hint = " (some take no system text: leave `system` out)" if has_system else ""
        raise ProfileError(f"The chat template cannot be rendered{hint}: {reason}") from error
    return "".join(parts)


def _compiled(template: str) -> Any:
    """As transformers compiles one (utils/chat_template_utils.py), in Jinja's sandbox, but without today's date."""
    try:
        from jinja2 import TemplateError, nodes
        from jinja2.ext import Extension, loopcontrols
        from jinja2.sandbox import ImmutableSandboxedEnvironment
    except ImportError as error:
        raise MissingPackageError("Chat templates need jinja2: pip install 'lema-local[train]'") from error

    class Generation(Extension):
        """{% generation %} marks what an assistant wrote, for trainers that look for it; it renders as it stands."""

        tags = {"generation"}  # noqa: RUF012

        def parse(self, parser: Any) -> nodes.Node | list[nodes.Node]:
            next(parser.stream)
            body: list[nodes.Node] = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return body

    def raise_exception(message: str) -> None:
        raise TemplateError(message)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols], autoescape=False
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = raise_exception
    try:
        return environment.from_string(template)
    except TemplateError as error:
        raise ProfileError(f"The chat template is not valid Jinja: {' '.join(str(error).split())[:120]}") from error


def _to_json(value: Any, indent: int | None = None) -> str:
    """JSON as models were shown it, and not as HTML wants it."""
    return json.dumps(value, ensure_ascii=False, indent=indent)
