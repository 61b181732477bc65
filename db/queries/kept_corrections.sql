-- What do kept corrections look like? One row each: the mistake, the wrong step, why, and the new steps.
select
    correction.corrector, mistake.question, mistake.rationale, correction.incorrect_step, correction.explanation,
    correction.correct_solution, mistake.reference, correction.id
from correction
join mistake on mistake.id = correction.rationale_id
where correction.rejected_because is null
order by correction.is_reference_derived, correction.id;
