-- What did each checkpoint's arm train on? One row a checkpoint.
with written as (
    select training_set_id, list(distinct corrector order by corrector) as correctors
    from training_set_example as link
    join example on example.id = link.example_id
    join correction on correction.id = example.source_id
    group by training_set_id
)
select
    checkpoint.id::varchar as checkpoint_id, checkpoint.arm, checkpoint.training_set_id::varchar as training_set_id,
    training_set.cot_examples + training_set.correction_examples as examples, training_set.correction_examples,
    coalesce((manifest ->> '$.reference_derived')::bigint, 0) as reference_derived,
    (manifest ->> '$.tokens.prompt')::bigint + (manifest ->> '$.tokens.output')::bigint as tokens,
    coalesce(correctors, []) as correctors
from checkpoint
join training_set on training_set.id = checkpoint.training_set_id
left join written on written.training_set_id = training_set.id
order by checkpoint.created_at, checkpoint.id
