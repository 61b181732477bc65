"""From rationales and corrections to training texts. Pure: same input, same example.

A CoT example answers the question in one paragraph, a correction example takes a mistake apart:

    Please solve ... Question: ... Answer: Let's think step by step.\\n   ->  48 / 2 = 24 clips ... The answer is 72.
    For the following math problem, ... \\n}\\nIncorrect Step:            ->   Step 2.\\nExplanation: ...
"""

import re
from typing import Literal

from lema_local.corrections.parsing import ParsedCorrection, correction_output
from lema_local.corrections.rationales import join_steps, number_steps, split_steps
from lema_local.prompts import correction_input, cot_input
from lema_local.records.types import Example

Part = Literal["step", "explanation", "solution"]

# 2,048 tokens of generation are under 16,000 characters of prose; what is longer was rambling, or is an attack.
MAX_CHARACTERS = 16_000

# also as a formula, with its stop inside ("The answer is $5.$"), or a long one
_END = r"(?:(?:[^.!?]|\.(?=\d)){1,60}\.?(?:\$\$?|\\[\])])?|\$[^$]{1,400}\$|\\\([^$]{1,400}?\\\))\.?$"
_LAST_SENTENCE = re.compile(rf"The answer is {_END}")
_LAST_COLON = re.compile(rf"The answer is:\s{{0,3}}(?={_END})")  # WizardMath, MetaMath
_FIRST_LABEL = re.compile(r"[\s>#*_-]{0,12}step[ \t]{1,3}(\d{1,3})\b", re.IGNORECASE)
_EXPLANATION, _SOLUTION = "\nExplanation: ", "\nCorrect Solution:\n"


def cot_example(question: str, output: str, *, source_id: str, problem_id: str) -> Example:
    """A CoT example; `output` is one paragraph that ends "The answer is X."."""
    return Example(kind="cot", prompt=cot_input(question), output=output, source_id=source_id, problem_id=problem_id)


def sampled_output(steps: list[str], answer: str) -> str:
    """A sampled rationale as CoT output text; its last sentence is made "The answer is X." where it says it
    otherwise."""
    text = _LAST_COLON.sub("The answer is ", join_steps(steps))
    return text if _LAST_SENTENCE.search(text) else f"{text} The answer is {answer}."


def correction_example(
    question: str, mistaken_steps: list[str], parsed: ParsedCorrection, *, source_id: str, problem_id: str
) -> Example:
    """A correction example: the mistake goes in, the wrong step, its explanation and the new steps come out."""
    prompt = correction_input(question, number_steps(mistaken_steps))
    return Example(
        kind="correction", prompt=prompt, output=correction_output(parsed), source_id=source_id, problem_id=problem_id
    )


def corrected_steps(mistaken_steps: list[str], parsed: ParsedCorrection) -> list[str]:
    """The corrected solution as one: the steps before the incorrect one, then those of the correction.

    [] where the two do not read as one solution: the correction must begin with the incorrect step's number, or give
    the whole solution from step 1.
    """
    if parsed.incorrect_step is None or parsed.correct_solution is None:
        return []
    label = _FIRST_LABEL.match(parsed.correct_solution)
    if label is None or int(label[1]) not in (1, parsed.incorrect_step):
        return []
    kept = mistaken_steps[: int(label[1]) - 1]
    steps = split_steps(f"{number_steps(kept)}\n{parsed.correct_solution}")
    return steps if len(steps) > len(kept) else []


def without_part(output: str, part: Part) -> str:
    """The output of a correction example without one of its three parts; the input stays as it is.

    Without its step it begins with the explanation, still after "Incorrect Step:". Raises ValueError for text that is
    no output of a correction.
    """
    head, explained, rest = output.partition(_EXPLANATION)
    explanation, solved, solution = rest.partition(_SOLUTION)
    if not explained or not solved:
        raise ValueError("not the output of a correction")
    if part == "step":
        return f"{_EXPLANATION}{explanation}{_SOLUTION}{solution}"
    if part == "explanation":
        return f"{head}{_SOLUTION}{solution}"
    return f"{head}{_EXPLANATION}{explanation}"
