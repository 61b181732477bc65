-- The examples of a training set ($of) whose problem is of the same kind as this one ($id): evolved from the same seed,
-- or of the same subject (a template of gsm-symbolic, a subject of MATH), those of the same level first.
select example.id, example.kind, theirs.subject, theirs.level, theirs.source, example.problem_id, example.output as text
from problem as asked
join training_set_example as link on link.training_set_id = $of
join example on example.id = link.example_id
join problem as theirs on theirs.id = example.problem_id
where asked.id = $id and (
    theirs.source = asked.source or theirs.source = asked.id::varchar
    or (theirs.dataset = asked.dataset and theirs.subject = asked.subject)
)
order by theirs.level is distinct from asked.level, example.id
