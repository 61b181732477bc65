-- What do kept corrections look like? One row each: the mistake, the wrong step, why, and the new steps.
--   corrector, is_reference_derived: the model; true: it wrote from the reference solution
--   question, rationale: of the problem, and the mistake
--   incorrect_step, explanation, correct_solution: the three parts of the correction
--   reference: the right answer
--   id: of the correction
select
    correction.corrector, correction.is_reference_derived, mistake.question, mistake.rationale, correction.incorrect_step,
    correction.explanation, correction.correct_solution, mistake.reference, correction.id
from correction
join mistake on mistake.id = correction.rationale_id
where correction.rejected_because is null
order by correction.is_reference_derived, correction.id;
