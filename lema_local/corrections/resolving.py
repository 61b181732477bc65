"""Re-solve: does the reasoner itself reach the answer, once the wrong step is put right?

A correction that a reasoner cannot use has told it little. The reasoner M_r goes on from the kept steps and the
corrected one, with the prompt that it was sampled with; the rest of the corrector's solution is not shown to it:

    Step 1: Nadia picks 3 * 14 = 42 apples.          kept
    Step 2: She keeps 42 - 9 = 33 apples.            the corrected step, without "The answer is 33."
    Step 3:                                          the reasoner's

Pure: what is sent (prompts.continued) and how its reply is put together. A stage sends it as a completion of purpose
"resolve", whose rationale_id is the correction's id; `resolved` of the correction is whether the whole text has the
reference answer.
"""

import re
from collections.abc import Sequence

from lema_local.corrections.parsing import ParsedCorrection
from lema_local.corrections.rationales import number_steps, step_label

_ANSWER_SENTENCE = re.compile(
    r"(?:^|(?<=[.!?$] ))(?:So |Therefore,? |Thus,? )?[Tt]he (?:final )?answer is [^\n]{0,200}$"
)


def steps_to_resume(parsed: ParsedCorrection, mistaken: Sequence[str]) -> list[str] | None:
    """The kept steps and the corrected one, without an answer; None where there is no such step or it only answers."""
    k = parsed.incorrect_step
    if k is None or not 1 <= k <= len(mistaken) or parsed.correct_solution is None:
        return None
    label = step_label(parsed.correct_solution.split("\n", 1)[0])
    if label is None or label[0] != k:
        return None
    step = _ANSWER_SENTENCE.sub("", label[1]).strip()
    return [*mistaken[: k - 1], step] if step else None


def whole_solution(steps: Sequence[str], reply: str) -> str:
    """The given steps and what the reasoner wrote after them, where its reply does not say them again."""
    given = number_steps(steps)
    return reply if reply.startswith("Step 1:") else f"{given}\n{reply.strip()}"
