-- The mistakes among the rationales wanted: wrong, and not cut off by max_tokens.
select
    rationale.id::varchar, rationale.problem_id::varchar, case when $texts then completion.text else '' end,
    completion.template
from wanted
join rationale on rationale.id = wanted.id
join completion on completion.id = wanted.id
where not rationale.is_correct and not rationale.is_cut
order by rationale.id
