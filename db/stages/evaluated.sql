-- The graded answers of evaluations, with what a table of results is made from; texts stay where they are.
select
    id::varchar as id, problem_id::varchar as problem_id, model, dataset, split, level, subject, arm, seed, step,
    checkpoint_id::varchar as checkpoint_id, base, sample_index, answer, is_correct, is_cut,
    cast(sampling::json ->> 'temperature' as double) as temperature
from evaluation_result
