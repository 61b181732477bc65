-- A correction as parsed and graded, or those of a mistake ($of).
select
    correction.* exclude (problem_id, rationale_id, explanation, correct_solution), completion.template,
    correction.problem_id, correction.rationale_id, completion.text
from correction
join completion on completion.id = correction.id
where correction.id = $id or correction.rationale_id = $of
order by correction.corrector, correction.id
