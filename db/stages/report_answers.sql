-- The texts of the evaluations in the table `wanted`.
select
    evaluation.id::varchar as id, problem.question, problem.answer as reference, problem.level, problem.subject,
    evaluation.answer, evaluation.is_correct, evaluation.is_cut, completion.text
from wanted
join evaluation on evaluation.id = wanted.id
join problem on problem.id = evaluation.problem_id
join completion on completion.id = evaluation.id
