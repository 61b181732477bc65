-- Which checkpoints have answered all problems in the table `wanted`?
select checkpoint_id::varchar as checkpoint_id
from evaluation
join wanted on wanted.id = evaluation.problem_id
where checkpoint_id is not null
group by checkpoint_id
having count(distinct problem_id) = (select count(*) from wanted)
