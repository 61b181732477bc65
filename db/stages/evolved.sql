-- The replies of one purpose that are wanted, with what they were made from.
select completion.id::varchar as id, completion.problem_id::varchar as problem_id,
    completion.rationale_id::varchar as made_from, completion.sample_index, completion.text, completion.finish_reason
from wanted
join completion on completion.id = wanted.id
order by completion.id
