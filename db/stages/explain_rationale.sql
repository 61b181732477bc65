-- A sampled rationale as graded, or those of a problem ($of).
select
    rationale.* exclude (problem_id), completion.purpose, completion.template, completion.sample_index,
    rationale.problem_id, completion.text
from rationale
join completion on completion.id = rationale.id
where rationale.id = $id or rationale.problem_id = $of
order by completion.purpose, completion.sample_index, rationale.id
