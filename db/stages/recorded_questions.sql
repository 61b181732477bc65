-- The questions that a training set has examples of.
select distinct problem.question
from training_set_example
join example on example.id = training_set_example.example_id
join problem on problem.id = example.problem_id
where training_set_example.training_set_id = $id
