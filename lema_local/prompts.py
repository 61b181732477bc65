"""Prompts: a template and its inputs become what is sent.

A template is templates/NAME.VERSION.txt: turns that begin with `=== system`, `=== user` or `=== assistant`, worked
examples first; or one `=== input`, which is sent as it stands.
Its name and version are part of a completion's key, so a text that changes takes a new version (a test holds the
hashes).

The three inputs below are the paper's, to the letter, so that adapters are interchangeable with published ones
(microsoft/LEMA; see also WizardMath's card for the Alpaca-style input, which such models take instead).
"""

import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Literal, get_args

from lema_local.calls.endpoint import Prompt
from lema_local.corrections.rationales import number_steps, solution_steps, split_steps
from lema_local.corrections.reply_text import own_text
from lema_local.records.types import AnswerKind, PromptFormat

# Format from microsoft/LEMA, arXiv 2310.20689.
COT_INPUT = "Please solve the following math problem.\nQuestion: {question}\nAnswer: Let's think step by step.\n"
CORRECTION_INPUT = (
    "For the following math problem, the original solution is incorrect. Please identify the incorrect step, "
    "explain why it is incorrect, "
    "and correct the original solution starting from the incorrect step.\n"
    "Question: {question}\nOriginal Solution:\n{\n{steps}\n}\nIncorrect Step:"
)
EVALUATION_TEMPLATE = "cot_input.1"
EVOLUTION_TEMPLATE = "evolve.1"
CHAT_TEMPLATE = "cot_chat.1"  # COT_INPUT within the model's own chat template (settings/chat.py)
ALPACA_TEMPLATE = "sample_alpaca.1"  # format from the model cards of WizardMath and MetaMath
COT_TEMPLATE = "sample_cot.1"  # COT_INPUT, for a reasoner that was trained with it
IMPORTED_TEMPLATE = "imported.1"  # no template: what was asked elsewhere is not known
# P_r and P_c. correct.1 is what corrections before 2026-11-24 were asked with: it renders their prompts.
SAMPLE_TEMPLATES: Mapping[AnswerKind, str] = {
    "number": "sample_number.1",
    "latex": "sample_latex.1",
    "choice": "sample_choice.1",
}
CORRECTION_TEMPLATES: Mapping[AnswerKind, str] = {
    "number": "correct_number.1",
    "latex": "correct_latex.1",
    "choice": "correct_choice.1",
}

_MAX_UNLABELLED = 16_000  # characters; a longer rationale is noise
_LIST_MARK = re.compile(r"^[ \t]{0,8}(?:[-*•]|\d{1,2}[.)])[ \t]+(?=\S)", re.MULTILINE)

Role = Literal["system", "user", "assistant", "input"]


def cot_input(question: str) -> str:
    """What a student is trained on, and asked at evaluation: the paper's CoT input."""
    return COT_INPUT.replace("{question}", question)


def correction_input(question: str, steps: str) -> str:
    """The paper's correction input; `steps` is the mistaken solution, one "Step k: ..." a line."""
    head, _, tail = CORRECTION_INPUT.partition("{question}")
    before, _, after = tail.partition("{steps}")
    return f"{head}{question}{before}{steps}{after}"


def evaluation_template(form: Literal["cot", "alpaca", "chat"]) -> str:
    """What a student tuned with this input is evaluated by: the same that it is trained with."""
    return {"alpaca": ALPACA_TEMPLATE, "chat": CHAT_TEMPLATE}.get(form, EVALUATION_TEMPLATE)


def student_input(question: str, template: str) -> str:
    """What a student is asked at evaluation: the paper's CoT input (in chat, what stands in the frame), or the input of
    the model's own card."""
    return _fill(turns(template)[0][1], {"question": question}) if template == ALPACA_TEMPLATE else cot_input(question)


def in_alpaca(kind: Literal["cot", "correction"], prompt: str, output: str) -> tuple[str, str]:
    """A training text with the paper's input as one with the Alpaca-style input; (prompt, output).

    CoT: the very input that such a model is asked by. A correction is one more instruction, whose response begins with
    "Incorrect Step:". The response's first word follows a space, as after "Let's think step by step.".
    """
    if kind == "cot":
        before, _, after = COT_INPUT.partition("{question}")
        question = prompt.removeprefix(before).removesuffix(after)
        return student_input(question, ALPACA_TEMPLATE), f" {output}"
    begins = CORRECTION_INPUT.rpartition("\n")[2]
    frame = turns(ALPACA_TEMPLATE)[0][1].rpartition("Let's")[0]
    return _fill(frame, {"question": prompt.removesuffix(f"\n{begins}")}) + begins, output


def is_alpaca(prompt: str) -> bool:
    """Whether a training text's prompt has the Alpaca-style input."""
    return prompt.startswith(turns(ALPACA_TEMPLATE)[0][1].partition("{question}")[0])


def sample_template(kind: AnswerKind, form: PromptFormat | None = None) -> str:
    """The template P_r: few-shot for a kind of answer; the Alpaca-style input that WizardMath and MetaMath take; or
    the student's own CoT input, for what was fine-tuned with it."""
    if form == "alpaca":
        return ALPACA_TEMPLATE
    if form == "cot":
        return COT_TEMPLATE
    return SAMPLE_TEMPLATES[kind]


def correction_template(kind: AnswerKind) -> str:
    """The few-shot template P_c for a kind of answer: four annotated corrections, and then the mistake.

    Each reply begins with the corrector's own solution in a line, because a small corrector that must name the wrong
    step first copies the mistake (docs/LOG.md); parsing leaves that line out.
    """
    return CORRECTION_TEMPLATES[kind]


def sampled_steps(text: str, template: str) -> list[str]:
    """The steps of a rationale that was sampled by this template; [] where none can be read.

    They are labelled, or the format is wrong; but models that take the Alpaca-style input, or that learned CoT outputs,
    label none, and who was asked elsewhere need not: theirs are the lines, and the sentences of a line. What learned
    CoT outputs writes "The answer is 7." as it learned it, at the end of the last step.
    """
    steps = split_steps(text)
    if steps or template not in (ALPACA_TEMPLATE, COT_TEMPLATE, IMPORTED_TEMPLATE):
        return steps
    own = (own_text(text) or "")[:_MAX_UNLABELLED].split("\n### Instruction", 1)[0]
    steps = solution_steps(_LIST_MARK.sub("", own.replace("**", "")))
    if template == COT_TEMPLATE and len(steps) > 1 and steps[-1].startswith("The answer is"):
        steps[-2:] = [f"{steps[-2]} {steps[-1]}"]
    return steps


@cache
def turns(template: str) -> tuple[tuple[Role, str], ...]:
    """The turns of a template file, in order."""
    roles: dict[str, Role] = {f"=== {role}": role for role in get_args(Role)}
    found: list[tuple[Role, list[str]]] = []
    for line in files("lema_local").joinpath("templates", f"{template}.txt").read_text(encoding="utf-8").splitlines():
        if line in roles:
            found.append((roles[line], []))
        else:
            found[-1][1].append(line)
    return tuple((role, "\n".join(lines)) for role, lines in found)


def render(template: str, inputs: Mapping[str, str], *, api: Literal["chat", "completions"]) -> Prompt:
    """The prompt for one call: chat messages, or the same turns as one text for a raw /completions endpoint.

    Only the last user turn has placeholders; they are filled in one pass, so that a question may contain braces. An
    assistant turn
    after it is how the reply begins: raw text can say so (small models keep the format then), chat cannot everywhere
    and leaves it out.
    """
    given = turns(template)
    if given[0][0] == "input":  # a model's own format, to the letter
        text = _fill(given[0][1], inputs)
        return Prompt(messages=({"role": "user", "content": text},)) if api == "chat" else Prompt(text=text)
    prefill = given[-1][1] if given[-1][0] == "assistant" else ""
    *examples, (last_role, last) = given[:-1] if prefill else given
    asked = [*examples, (last_role, _fill(last, inputs))]
    if api == "chat":
        return Prompt(messages=tuple({"role": role, "content": text} for role, text in asked))
    blocks: list[str] = []
    for role, text in asked:
        if role == "assistant":
            blocks[-1] += "\n" + text
        else:
            blocks.append(text)
    return Prompt(text="\n\n".join(blocks) + "\n" + prefill, prefill=prefill)


def continued(
    template: str, inputs: Mapping[str, str], steps: Sequence[str], *, api: Literal["chat", "completions"]
) -> Prompt:
    """A prompt P_r whose answer has its first steps already: the model goes on with the next one.

    Raw text begins the reply with them, so the completion holds the whole solution; in chat they stand below the
    question, and the reply holds the rest of it.
    """
    prompt = render(template, inputs, api=api)
    given, label = number_steps(steps), f"Step {len(steps) + 1}:"
    if prompt.text is not None:
        beginning = f"{given}\n{label}"
        asks = prompt.text.removesuffix(prompt.prefill)
        return Prompt(text=asks + ("" if asks.endswith("\n") else "\n") + beginning, prefill=beginning)
    *before, last = prompt.messages
    asked = {**last, "content": f"{last['content']}\n{given}\n\nThese steps are right. Go on from {label}"}
    return Prompt(messages=(*before, asked))


def as_json(prompt: Prompt) -> Prompt:
    """A chat prompt P_c that says which JSON the server's schema will hold the reply to."""
    *before, last = prompt.messages
    wish = (
        'Reply as one JSON object: {"incorrect_step": number, "explanation": text, "correct_solution": [steps from the '
        'incorrect one on, each "Step k: ...", the last one ending "The answer is X."]}'
    )
    return Prompt(messages=(*before, {**last, "content": f"{last['content']}\n\n{wish}"}))


def stop_texts(api: Literal["chat", "completions"]) -> tuple[str, ...]:
    """Where a raw completion of a worked-example prompt must end: at a question of the model's own. Chat turns end by
    themselves."""
    return ("\nQuestion:",) if api == "completions" else ()


def _fill(text: str, inputs: Mapping[str, str]) -> str:
    result, rest = "", text
    for name, value in inputs.items():  # in the order in which they stand in the template
        before, found, rest = rest.partition("{" + name + "}")
        if not found:
            raise ValueError(f"the template has no {{{name}}}")
        result += before + value
    return result + rest
