"""Preference pairs: the corrected solution of a question against the mistake that it corrects, for DPO and KTO. Pure.

    Pair(prompt="Please solve ... Answer: Let's think step by step.\\n",
         chosen="He has 24 pens. 24 - 9 = 15 are left. The answer is 15.",
         rejected="He has 24 pens. 24 + 9 = 33 are left. The answer is 33.", ...)

Both are CoT outputs as a student writes them. They share the steps before the incorrect one, and part where it went
wrong; where the corrector wrote the whole solution anew they share none. What each of them ends with is read again from
the text, and must be what was graded.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from lema_local.answers.exact import extract_answer, is_correct
from lema_local.corrections.parsing import ParsedCorrection
from lema_local.corrections.rationales import answer_text, join_steps
from lema_local.corrections.reply_text import has_special_token
from lema_local.examples.texts import MAX_CHARACTERS, corrected_steps, sampled_output
from lema_local.prompts import cot_input
from lema_local.records.types import Problem


@dataclass(frozen=True, slots=True)
class Pair:
    """A question with a better and a worse solution. `source_id`: the correction."""

    prompt: str
    chosen: str
    rejected: str
    source_id: str
    problem_id: str


@dataclass(frozen=True, slots=True)
class Pairs:
    """Pairs of a training set, and how many corrections gave none: reason -> count."""

    pairs: tuple[Pair, ...]
    left_out: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Solved:
    """A kept correction of a mistake, as the records have them."""

    problem: Problem
    mistaken_steps: list[str]
    mistaken_answer: str | None
    correction: ParsedCorrection
    corrected_answer: str | None
    id: str  # the correction's


def preference_pair(solved: Solved) -> tuple[Pair | None, str]:
    """The pair of a correction, or None and the reason why there is none."""
    problem, steps, wrong = solved.problem, solved.mistaken_steps, solved.mistaken_answer
    whole = corrected_steps(steps, solved.correction)
    if not whole:
        return None, "the correction and the steps before it are not one solution"
    chosen = sampled_output(whole, answer_text(problem))
    rejected = join_steps(steps) if wrong is None else sampled_output(steps, wrong)
    prompt = cot_input(problem.question)
    if max(map(len, (prompt, chosen, rejected))) > MAX_CHARACTERS:
        return None, "too long"
    if has_special_token("\n".join((prompt, chosen, rejected))):
        return None, "special token in the text"
    # what trains must say what was graded
    said = extract_answer(chosen, problem.kind)
    if said is None or not (said == solved.corrected_answer or is_correct(said, problem.answer, problem.kind)):
        return None, "the corrected solution ends otherwise"
    if extract_answer(rejected, problem.kind) != wrong:
        return None, "the mistake ends otherwise"
    return Pair(prompt, chosen, rejected, solved.id, problem.id), ""
