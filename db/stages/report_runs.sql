-- Which training runs are there, with which settings, and how long did each take from its first checkpoint to its last?
select
    arm, seed, base_model, dataset, quantization, any_value(settings) as settings, any_value(training_set_id)::varchar as training_set_id,
    run_id::varchar as run_id, max(step) as steps, count(*) as checkpoints, max(samples_seen) as samples_seen, max(tokens_seen) as tokens_seen,
    arg_max(loss, step) as loss, min(created_at) as first_at, max(created_at) as last_at
from checkpoint
group by arm, seed, base_model, dataset, quantization, run_id
order by last_at, arm, seed
