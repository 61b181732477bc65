-- Every checkpoint that a report may show, the oldest first, and whether any problem was asked of it.
select
    id::varchar as id, run_id::varchar as run_id, base_model, dataset, arm, seed, step, tokens_seen,
    training_set_id::varchar as training_set_id, settings,
    id in (select checkpoint_id from evaluation where checkpoint_id is not null) as is_evaluated
from checkpoint
order by created_at, id
