-- How far is each stage: what is there, and what is wanted of what the database knows? Replies count as they come.
with asked as (
    select
        completion.model, completion.purpose, completion.rationale_id, completion.problem_id, completion.checkpoint_id,
        completion.is_reference_derived, problem.dataset, problem.split
    from completion
    join problem on problem.id = completion.problem_id
),
problems as (select dataset, split, count(*) as n from problem group by all),
sampled as (
    select model, dataset, count(distinct problem_id) as done from asked where purpose = 'sample' group by all
),
mistakes as (select dataset, count(*) as n from mistake group by all),
corrected as (
    select model, dataset, count(distinct rationale_id) as done from asked where purpose = 'correct' group by all
),
answered as (
    select
        asked.model, coalesce(checkpoint.arm, 'base') as arm, asked.dataset, asked.split, count(*) as done,
        count(distinct (asked.checkpoint_id, checkpoint.run_id)) as begun
    from asked
    left join checkpoint on checkpoint.id = asked.checkpoint_id
    where asked.purpose = 'evaluate'
    group by all
),
trained as (
    select base_model, dataset, arm, seed, run_id, max(step) as done from training_metric group by all
)
select 1 as place, 'rationales' as stage, model || ', ' || sampled.dataset as what, done, problems.n as wanted
from sampled
left join problems on problems.dataset = sampled.dataset and problems.split = 'train'
union all
select 2, 'corrections', model || ', ' || corrected.dataset, done, mistakes.n
from corrected
left join mistakes using (dataset)
union all
select 3, 'training steps', concat_ws(', ', base_model, dataset, arm, 'seed ' || seed), done, null
from trained
union all
select
    4, 'evaluations', concat_ws(', ', model, answered.dataset, if(split = 'test', null, split), arm), done,
    begun * problems.n
from answered
left join problems using (dataset, split)
order by place, what
