-- An event of reviewing, by a person or a judge, or those of a correction ($of), in their order.
select id, event, reviewer, grade, created_at, correction_id, note as text
from review
where id = $id or correction_id = $of
order by created_at, id
