-- Which records have an id that begins with this text? A completion shares its id with what was derived from it.
with found as (
    select 'problem' as kind, id::varchar as id from problem
    union all select 'rationale', id::varchar from rationale
    union all select 'correction', id::varchar from correction
    union all select 'evaluation', id::varchar from evaluation
    union all select 'completion', id::varchar from completion
    where id not in (
        select id from rationale union all select id from correction union all select id from evaluation
    )
    union all select 'attempt', id::varchar from attempt
    union all select 'review', id::varchar from review
    union all select 'example', id::varchar from example
    union all select 'training_set', id::varchar from training_set
    union all select 'checkpoint', id::varchar from checkpoint
)
select kind, id
from found
where starts_with(id, $prefix)
order by id
limit 6
