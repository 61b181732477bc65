-- Kept corrections with the mistake that they correct.
select
    correction.id, correction.problem_id, correction.is_reference_derived, problem.question,
    completion.text, mistaken.text as mistaken_text
from correction
join problem on problem.id = correction.problem_id
join completion on completion.id = correction.id
join completion as mistaken on mistaken.id = correction.rationale_id
where correction.rejected_because is null
order by correction.id
