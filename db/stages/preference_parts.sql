-- The kept corrections among those wanted, in their parts, each with its problem and the wrong answer that it corrects.
select
    correction.id::varchar, correction.incorrect_step, correction.explanation, correction.correct_solution, correction.answer,
    mistaken.text, mistaken.template, rationale.answer as wrong,
    problem.dataset, problem.split, problem.question, problem.answer as reference, problem.kind
from wanted
join correction on correction.id = wanted.id
join rationale on rationale.id = correction.rationale_id
join completion as mistaken on mistaken.id = rationale.id
join problem on problem.id = correction.problem_id
where correction.rejected_because is null and not rationale.is_correct
order by correction.id
