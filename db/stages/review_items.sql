-- The texts of the corrections wanted, with the problem and the mistake of each; in the order wanted.
select
    correction.id::varchar, problem.question, problem.answer, problem.solution, mistaken.text, mistaken.template,
    rationale.answer, correction.incorrect_step, correction.explanation, correction.correct_solution,
    correction.answer, correction.rejected_because
from wanted
join correction on correction.id = wanted.id
join problem on problem.id = correction.problem_id
join rationale on rationale.id = correction.rationale_id
join completion as mistaken on mistaken.id = correction.rationale_id
order by wanted.place
