-- A training set, or those that an example ($of) is in.
select id, arm, dataset, seed, cot_examples, correction_examples, manifest
from training_set
where id = $id or id in (select training_set_id from training_set_example where example_id = $of)
order by arm, seed, id
