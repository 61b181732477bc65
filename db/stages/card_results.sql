-- Every graded greedy answer of a checkpoint, of the cot checkpoint to compare it with, and of the base model under both. That is
-- the cot checkpoint of the same seed, settings and step that was evaluated last, of runs as long as this one.
with this as (
    select *, design_of(settings) as design, settings ->> '$.max_steps' as length,
        coalesce(settings ->> '$.schedule', 'constant') = 'constant' as is_constant
    from checkpoint
    where id = $id
),
twin as (
    select checkpoint.id
    from checkpoint
    join this using (base_model, quantization, dataset, seed, step)
    where checkpoint.arm = 'cot' and this.arm <> 'cot'
        and design_of(checkpoint.settings) = this.design
        and (this.is_constant or checkpoint.settings ->> '$.max_steps' = this.length)
        and checkpoint.id in (select checkpoint_id from evaluation where checkpoint_id is not null)
    order by checkpoint.created_at desc
    limit 1
),
answered as (
    select dataset, split, evaluation.base, checkpoint_id, count(distinct problem_id) as n
    from evaluation
    join problem on problem.id = evaluation.problem_id
    where model in (select model from evaluation where checkpoint_id = $id)
    group by dataset, split, evaluation.base, checkpoint_id
),
problem_set as (  -- as many as several answered, if any did: the database may hold problems that another profile asks
    select dataset, split, case when count_if(n = most) > 1 then any_value(most) else any_value(problems) end as problems
    from (select *, max(n) over (partition by dataset, split) as most from answered)
    join (select dataset, split, count(*) as problems from problem group by dataset, split) using (dataset, split)
    group by dataset, split
)
select
    case
        when result.checkpoint_id is null then 'base'
        when result.checkpoint_id = $id then 'this'
        else 'cot'
    end as who,
    result.dataset, result.split, result.base, result.template, result.sampling, result.problem_id,
    result.is_correct, result.is_cut, problem_set.problems
from evaluation_result as result
join problem_set using (dataset, split), this
where result.sample_index = 0 and coalesce((result.sampling ->> '$.temperature')::double, 0) = 0 and (
    result.checkpoint_id = $id
    or result.checkpoint_id in (select id from twin)
    or (result.checkpoint_id is null and result.model in (select model from evaluation where checkpoint_id = $id))
)
order by result.dataset, result.split, result.base, result.sampling, who, result.problem_id
