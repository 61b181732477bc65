-- The problem of each correction of the table `graded` (correction_id, reviewer, grade).
select distinct correction.id::varchar, correction.problem_id::varchar
from graded
join correction on correction.id = graded.correction_id
