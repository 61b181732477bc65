-- The graded greedy answers that a report shows: those of the base models and of the checkpoints in the table `wanted`, of each
-- model those asked with its latest settings; rows as in evaluated.sql, and the data set that trained. Texts stay where they are.
with answered as (
    select
        evaluation.id, evaluation.problem_id, evaluation.model, evaluation.checkpoint_id, evaluation.base,
        evaluation.sample_index, evaluation.answer, evaluation.is_correct, evaluation.is_cut, completion.sampling,
        completion.created_at
    from evaluation
    join completion on completion.id = evaluation.id
    where evaluation.sample_index = 0
        and coalesce(cast(completion.sampling::json ->> 'temperature' as double), 0) = 0
        and (evaluation.checkpoint_id is null or evaluation.checkpoint_id in (select id from wanted))
),
latest_settings as (
    select model, base, max_by(sampling, created_at) as sampling
    from answered
    group by model, base
)
select
    answered.id::varchar as id, answered.problem_id::varchar as problem_id, answered.model, problem.dataset, problem.split,
    problem.level, problem.subject, coalesce(checkpoint.arm, 'base') as arm, checkpoint.seed,
    coalesce(checkpoint.step, 0) as step, answered.checkpoint_id::varchar as checkpoint_id, answered.base,
    answered.sample_index, answered.answer, answered.is_correct, answered.is_cut, 0.0 as temperature,
    checkpoint.dataset as trained_on
from answered
semi join latest_settings using (model, base, sampling)
join problem on problem.id = answered.problem_id
left join checkpoint on checkpoint.id = answered.checkpoint_id
order by answered.model, answered.base, checkpoint.step, answered.problem_id
