-- The problem of each of the corrections wanted.
select correction.id::varchar, correction.problem_id::varchar
from wanted
join correction on correction.id = wanted.id
