-- A failed call, or those for a completion ($of).
select id, error, status, endpoint, completion_id, created_at, raw as text
from attempt
where id = $id or completion_id = $of
order by created_at
