-- A problem, or the problems that evolved from one ($of).
select id, dataset, split, kind as answer_kind, answer, level, subject, source, question as text
from problem
where id = $id or source = $of::varchar
order by id
