-- The corrections among those wanted, in their parts, with the mistake that each corrects.
select
    correction.id::varchar, correction.problem_id::varchar, correction.corrector, correction.is_reference_derived,
    correction.incorrect_step, correction.explanation, correction.correct_solution, correction.answer,
    mistaken.text as mistaken_text, mistaken.template,
    correction.rationale_id::varchar, correction.step_exists, correction.continues, correction.arithmetic,
    correction.explains, correction.step_agrees, correction.resolved
from wanted
join correction on correction.id = wanted.id
join completion as mistaken on mistaken.id = correction.rationale_id
where correction.rejected_because is null
order by correction.id
