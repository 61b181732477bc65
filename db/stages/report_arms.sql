-- What did each arm of the latest runs train on? One row a run.
with latest_run as (
    select base_model, dataset, arm, seed, max_by(training_set_id, created_at) as training_set_id
    from checkpoint
    group by base_model, dataset, arm, seed
)
select
    latest_run.base_model as model, latest_run.dataset, latest_run.arm, latest_run.seed,
    training_set.cot_examples + training_set.correction_examples as examples, training_set.correction_examples,
    coalesce((manifest ->> '$.corrections_reference_derived')::bigint, 0) as reference_derived,
    (manifest ->> '$.tokens.prompt')::bigint + (manifest ->> '$.tokens.output')::bigint as tokens
from latest_run
join training_set on training_set.id = latest_run.training_set_id
order by all
