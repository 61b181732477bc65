-- The loss of the newest training runs, at no more than some points each: the last step is always one.
with run as (
    select run_id, max(step) as last, max(created_at) as newest from training_metric group by all order by newest desc limit $runs
)
select
    m.run_id::varchar as run_id, concat_ws(', ', m.base_model, m.dataset, m.arm, 'seed ' || m.seed) as label,
    m.step, m.loss, m.tokens_per_second
from training_metric as m
join run using (run_id)
where m.step = run.last or m.step % greatest(1, ceil(run.last / $points)::integer) = 0
order by run.newest desc, m.run_id, m.step
