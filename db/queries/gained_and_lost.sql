-- Which test problems does the last checkpoint of each arm gain and lose against the base model?
with last_step as (
    select model, dataset, arm, seed, base, sampling, max(step) as step
    from evaluation_result
    where arm <> 'base'
    group by all
),
tuned as (
    select evaluation_result.*
    from evaluation_result
    semi join last_step using (model, dataset, arm, seed, base, sampling, step)
)
select
    tuned.arm, tuned.step, if(tuned.is_correct, 'gained', 'lost') as change,
    tuned.subject, tuned.question, tuned.reference, base.answer as base_answer, tuned.answer as tuned_answer
from tuned
join evaluation_result as base
    on base.problem_id = tuned.problem_id and base.arm = 'base' and base.model = tuned.model
    and base.base = tuned.base and base.sampling = tuned.sampling
where tuned.is_correct <> base.is_correct
order by tuned.arm, change, tuned.question;
