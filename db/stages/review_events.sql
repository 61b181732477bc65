-- All events of reviewing, in their order.
select id::varchar, correction_id::varchar, reviewer, grade, note, created_at, event, completion_id::varchar
from review
order by created_at, id
