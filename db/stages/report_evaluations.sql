-- The graded greedy answers that a report shows: those of the base models and of the checkpoints in the table `wanted`, of each
-- model and set of problems those asked in the way, prompt and settings, in which most were asked, of several the latest; rows as
-- in evaluated.sql, and the data set that trained. Texts stay where they are.
with answered as (
    select
        evaluation.id, evaluation.problem_id, evaluation.model, evaluation.checkpoint_id, evaluation.base,
        evaluation.sample_index, evaluation.answer, evaluation.is_correct, evaluation.is_cut,
        (completion.template, completion.sampling) as way, completion.created_at,
        cast(completion.sampling::json ->> 'temperature' as double) as temperature,
        problem.dataset, problem.split, problem.level, problem.subject
    from evaluation
    join completion on completion.id = evaluation.id
    join problem on problem.id = evaluation.problem_id
    where coalesce(temperature, 0) = 0
        and (evaluation.checkpoint_id is null or evaluation.checkpoint_id in (select id from wanted))
    window alike as (
        partition by evaluation.problem_id, evaluation.model, evaluation.checkpoint_id, evaluation.base, way
    )
    -- of answers made elsewhere, whose settings are not known, the first to each problem
    qualify evaluation.sample_index = case when temperature is null then min(evaluation.sample_index) over alike else 0 end
),
usual as (
    select model, base, dataset, split, way
    from answered
    group by model, base, dataset, split, way
    qualify row_number() over (
        partition by model, base, dataset, split order by count(*) desc, max(created_at) desc, way
    ) = 1
)
select
    answered.id::varchar as id, answered.problem_id::varchar as problem_id, answered.model, answered.dataset, answered.split,
    answered.level, answered.subject, coalesce(checkpoint.arm, 'base') as arm, checkpoint.seed,
    coalesce(checkpoint.step, 0) as step, answered.checkpoint_id::varchar as checkpoint_id, answered.base,
    answered.sample_index, answered.answer, answered.is_correct, answered.is_cut, 0.0 as temperature,
    checkpoint.dataset as trained_on
from answered
semi join usual using (model, base, dataset, split, way)
left join checkpoint on checkpoint.id = answered.checkpoint_id
order by answered.model, answered.base, checkpoint.step, answered.problem_id
