-- The reasoners' replies that go on from a corrected step, with what grading them needs; of several the first.
select
    correction.id::varchar, completion.text, completion.finish_reason, correction.incorrect_step,
    correction.correct_solution, mistaken.text, mistaken.template, problem.answer, problem.kind
from completion
join correction on correction.id = completion.rationale_id
join completion as mistaken on mistaken.id = correction.rationale_id
join problem on problem.id = correction.problem_id
where completion.purpose = 'resolve'
qualify row_number() over (partition by correction.id order by completion.sample_index, completion.id) = 1
