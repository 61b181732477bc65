-- Which corrections were re-solved, and with what result?
update correction
set resolved = resolved_now.resolved
from resolved_now
where resolved_now.id = correction.id
