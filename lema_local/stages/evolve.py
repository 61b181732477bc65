"""Evolution: new train questions from seed questions, each with the answer that most of the evolver's answers give.

A new question and its answers are completions like any other (purposes "evolve" and "answer"; an answer's
`rationale_id` is the completion that wrote the question), so the new problems are found again without a call:

    seed (drawn from the corrections) -> evolve -> question -> answer x 3 -> majority -> Problem(source=seed)
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from lema_local.answers.exact import extract_answer
from lema_local.calls.endpoint import Endpoint, Prompt, Sampling
from lema_local.corrections.rationales import join_steps, split_steps
from lema_local.problems.decontamination import overlaps
from lema_local.problems.evolution import draw_seeds, majority, parse_question
from lema_local.prompts import EVOLUTION_TEMPLATE, render, sample_template, stop_texts, turns
from lema_local.records.endings import is_whole
from lema_local.records.types import Problem
from lema_local.stages import correct
from lema_local.stages.calls import Outcome, complete, pending
from lema_local.stages.engines import open_model
from lema_local.stages.run import Experiment, Run
from lema_local.stages.select import wanted_rows
from lema_local.stages.work import Call

NO_ANSWER = ""  # a question has none before its answers are counted


@dataclass(frozen=True, slots=True)
class Question:
    """A new question: the completion that it stands in, and its seed."""

    completion_id: str
    seed: Problem
    text: str


def evolve(run: Run) -> Outcome:
    """Make what is pending of the profile's new questions and their answers, and record the new problems: the run's
    train problems hold them from then on."""
    if not run.profile.evolution.questions:
        return Outcome()
    left_out = Counter[str]()
    endpoint = run.resolved("evolver").endpoint
    seeds = {problem.id: problem.question for problem in run.problems.train}
    wanted = _questions_wanted(run, endpoint)
    outcome = _make(run, wanted, lambda call: seeds[call.problem_id])
    questions = _questions(run, wanted, left_out)
    texts = {question.completion_id: question.text for question in questions}
    outcome += _make(run, _answers_wanted(run, endpoint, questions), lambda call: texts[str(call.rationale_id)])
    problems = _problems(run, endpoint, questions, left_out)
    reasons = ", ".join(f"{reason} {count}" for reason, count in sorted(left_out.items()))
    run.notice(f"{len(problems)} problems evolved" + (f"; left out: {reasons}" if reasons else ""))
    run.add_train_problems(problems)
    return outcome


def restore(run: Experiment) -> None:
    """Give a run the problems that were evolved for its profile before. Calls nothing."""
    problems = made(run)[2]
    if problems:  # or else nobody has asked for the run's problems yet, whose files may be far away
        run.add_train_problems(problems)


def made(run: Experiment) -> tuple[list[Call], list[Call], list[Problem]]:
    """The questions and the answers that the profile wants so far, and the problems that came of those that are there.

    Calls nothing and writes nothing.
    """
    if not run.profile.evolution.questions:
        return [], [], []
    endpoint = run.resolved("evolver").endpoint
    wanted = _questions_wanted(run, endpoint)
    questions = _questions(run, wanted, Counter())
    problems = _problems(run, endpoint, questions, Counter())
    return wanted, _answers_wanted(run, endpoint, questions), problems


def _make(run: Run, wanted: Sequence[Call], question_of: Callable[[Call], str]) -> Outcome:
    calls = pending(run, wanted)
    if not calls:
        return Outcome()
    with open_model(run, run.resolved("evolver")) as endpoint:

        def prompt(call: Call) -> Prompt:
            return render(call.template, {"question": question_of(call)}, api=endpoint.api)

        label = "evolve questions" if calls[0].purpose == "evolve" else "answer new questions"
        outcome = complete(run, calls, endpoint=endpoint, render=prompt, accepts=None, label=label)
    run.store.merge()
    return outcome


def _sampling(run: Experiment, endpoint: Endpoint) -> Sampling:
    e = run.profile.evolution
    return Sampling(
        temperature=e.temperature, max_tokens=e.max_tokens, top_p=e.top_p, seed=e.seed, stop=stop_texts(endpoint.api)
    )


def _seeds(run: Experiment) -> list[str]:
    """Ids of the problems that seeds are drawn from: one for each kept correction, or every problem once."""
    base = {problem.id for problem in run.problems.train if problem.source is None}
    if run.profile.evolution.seeds == "all":
        return sorted(base)
    return [problem_id for problem_id in correct.corrected_problems(run) if problem_id in base]


def _questions_wanted(run: Experiment, endpoint: Endpoint) -> list[Call]:
    e, sampling = run.profile.evolution, _sampling(run, endpoint)
    return [
        Call(endpoint, "evolve", EVOLUTION_TEMPLATE, sampling, draw.problem_id, sample_index=draw.index)
        for draw in draw_seeds(_seeds(run), e.questions, seed=e.seed)
    ]


def _answers_wanted(run: Experiment, endpoint: Endpoint, questions: Sequence[Question]) -> list[Call]:
    sampling = _sampling(run, endpoint)
    return [
        Call(
            endpoint,
            "answer",
            sample_template(question.seed.kind),
            sampling,
            question.seed.id,
            sample_index=index,
            rationale_id=question.completion_id,
        )
        for question in questions
        for index in range(run.profile.evolution.answers)
    ]


def _questions(run: Experiment, wanted: Sequence[Call], left_out: Counter[str]) -> list[Question]:
    """The new questions of these calls that are worth an answer: whole, new, and no near copy of their seed or of what
    is evaluated on."""
    seeds = {problem.id: problem for problem in run.problems.train}
    found: dict[str, Question] = {}
    ids = [call.id for call in wanted]
    for id_, seed_id, _, _, reply, finish_reason in wanted_rows(run.store, "evolved", ids):
        text = parse_question(reply) if is_whole(finish_reason) else None
        if text is None:
            left_out["no question"] += 1
        elif text in found:
            left_out["asked twice"] += 1
        else:
            found[text] = Question(id_, seeds[seed_id], text)
    if not found:
        return []
    made = [_problem(question, NO_ANSWER) for question in found.values()]
    # pair by pair: of a template that many train problems share, a search over all of them names only one
    copies = {new.id for question, new in zip(found.values(), made, strict=True) if overlaps([new], [question.seed])}
    examples = [replace(problem, question=text) for problem in made[:1] for text in _shown_questions()]
    shown = {overlap.train.id for overlap in overlaps(made, examples)}
    known = {problem.question for problem in seeds.values() if problem.source is None}
    tested = {o.train.id for o in overlaps(made, run.held_out) if o.kind != "template"}
    good = []
    for question, problem in zip(found.values(), made, strict=True):
        if problem.id in copies:
            left_out["copy of its seed"] += 1
        elif problem.id in shown:
            left_out["copy of a worked example"] += 1
        elif problem.question in known:
            left_out["copy of a train problem"] += 1
        elif problem.id in tested:
            left_out["copy of an evaluated problem"] += 1
        else:
            good.append(question)
    return good


def _shown_questions() -> list[str]:
    """The questions of the template's worked examples, old and new: small models copy them."""
    return [text.partition("Question: ")[2] for role, text in turns(EVOLUTION_TEMPLATE)[:-2] if role != "system"]


def _problems(
    run: Experiment, endpoint: Endpoint, questions: Sequence[Question], left_out: Counter[str]
) -> list[Problem]:
    """The new questions with an answer that two or more agree on, as problems."""
    ids = [call.id for call in _answers_wanted(run, endpoint, questions)]
    texts: defaultdict[str, list[str]] = defaultdict(list)
    for _, _, made_from, _, text, finish_reason in sorted(
        wanted_rows(run.store, "evolved", ids), key=lambda row: (row[2], row[3])
    ):
        texts[made_from].append(text if is_whole(finish_reason) else "")
    problems = []
    for question in questions:
        given = texts[question.completion_id]
        answers = [extract_answer(text, question.seed.kind) for text in given]
        chosen = majority(answers, question.seed.kind)
        if len(given) < run.profile.evolution.answers:
            left_out["answers missing"] += 1
        elif chosen is None:
            left_out["no two answers agree"] += 1
        else:
            steps = split_steps(given[chosen])
            solution = join_steps(steps) if steps else None
            problems.append(_problem(question, str(answers[chosen]), solution))
    return problems


def _problem(question: Question, answer: str, solution: str | None = None) -> Problem:
    """A new train problem. Its solution is the evolver's own, believed because its answer is the majority's."""
    return replace(question.seed, question=question.text, answer=answer, solution=solution, source=question.seed.id)
