-- The replies of a judge among the completions wanted.
select
    completion.id::varchar, completion.rationale_id::varchar, completion.text, completion.finish_reason, completion.model,
    completion.created_at
from wanted
join completion on completion.id = wanted.id
order by completion.id
