-- The examples that a training set links to, by id: each once, whatever it trains.
select kind, prompt, output, source_id, problem_id
from training_set_example as link
join example on example.id = link.example_id
where link.training_set_id = $id
order by example.id
