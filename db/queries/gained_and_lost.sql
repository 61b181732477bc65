-- Which test problems does the last checkpoint of each arm gain and lose against the base model?
with last_step as (
    select arm, max(step) as step from evaluation_result group by arm
),
answers as (
    select evaluation_result.* from evaluation_result semi join last_step using (arm, step)
)
select
    tuned.arm, tuned.step, if(tuned.is_correct, 'gained', 'lost') as change,
    tuned.subject, tuned.question, tuned.reference, base.answer as base_answer, tuned.answer as tuned_answer
from answers as tuned
join answers as base on base.problem_id = tuned.problem_id and base.arm = 'base' and base.model = tuned.model
where tuned.arm <> 'base' and tuned.is_correct <> base.is_correct
order by tuned.arm, change, tuned.question;
