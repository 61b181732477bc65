-- What did each checkpoint's arm train on, and by what do its arms match? One row a checkpoint.
select
    checkpoint.id::varchar as checkpoint_id, checkpoint.arm,
    training_set.cot_examples + training_set.correction_examples as examples, training_set.correction_examples,
    coalesce((manifest ->> '$.corrections_reference_derived')::bigint, 0) as reference_derived,
    (manifest ->> '$.tokens.prompt')::bigint + (manifest ->> '$.tokens.output')::bigint as tokens,
    coalesce(settings ->> '$.match', 'steps') as match
from checkpoint
join training_set on training_set.id = checkpoint.training_set_id
order by checkpoint.created_at, checkpoint.id
