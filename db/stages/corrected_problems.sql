-- The problems of the corrections wanted, once for each correction.
select correction.problem_id::varchar
from wanted
join correction on correction.id = wanted.id
order by correction.id
