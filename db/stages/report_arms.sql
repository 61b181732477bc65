-- What did each checkpoint's arm train on? One row a checkpoint. Whose corrections, or solutions of them, the manifest says:
-- a text that two correctors wrote is one example, and of the first.
select
    checkpoint.id::varchar as checkpoint_id, checkpoint.arm, checkpoint.training_set_id::varchar as training_set_id,
    training_set.cot_examples + training_set.correction_examples as examples, training_set.correction_examples,
    coalesce((manifest ->> '$.reference_derived')::bigint, 0) as reference_derived,
    (manifest ->> '$.tokens.prompt')::bigint + (manifest ->> '$.tokens.output')::bigint as tokens,
    list_sort(list_distinct(list_filter(
        list_transform(
            coalesce(json_keys(manifest, '$.sources'), []),
            lambda source: regexp_extract(source, '^(correction|corrected solution) by (.*)$', 2)
        ),
        lambda name: name <> ''
    ))) as correctors
from checkpoint
join training_set on training_set.id = checkpoint.training_set_id
order by checkpoint.created_at, checkpoint.id
