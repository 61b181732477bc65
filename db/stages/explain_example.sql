-- A training example, or those that were made from a record ($of).
select id, kind, source_id, problem_id, output as text
from example
where id = $id or source_id = $of
order by id
