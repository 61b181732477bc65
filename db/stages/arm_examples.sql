-- The examples of one training set, as they are exported.
select kind, prompt, output, source_id, problem_id
from training_example
where training_set_id = $training_set_id
order by example_id
