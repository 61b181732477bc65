-- The replies of a judge among the completions wanted; those that were cut off hold no grade.
select completion.id::varchar, completion.rationale_id::varchar, completion.text, completion.model, completion.created_at
from wanted
join completion on completion.id = wanted.id
where completion.finish_reason is distinct from 'length'
order by completion.id
