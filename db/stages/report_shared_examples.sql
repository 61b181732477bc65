-- How many examples do two data sets share, of those that evaluated checkpoints were trained on: CoT and corrections? Each
-- pair that shares any once, and each set with itself, which is how many it has.
with evaluated as (
    select distinct training_set_id
    from checkpoint
    where id in (select checkpoint_id from evaluation where checkpoint_id is not null)
),
held as (  -- an arm may have an example twice
    select distinct link.training_set_id, link.example_id, example.kind
    from training_set_example as link
    semi join evaluated using (training_set_id)
    join example on example.id = link.example_id
)
select
    one.training_set_id::varchar as one, other.training_set_id::varchar as other,
    count(*) filter (one.kind = 'cot') as shared,
    count(*) filter (one.kind <> 'cot') as shared_corrections
from held as one
join held as other on other.example_id = one.example_id and one.training_set_id <= other.training_set_id
group by one.training_set_id, other.training_set_id
