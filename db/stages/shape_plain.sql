-- An arm's examples as we keep them.
select kind, prompt, output, source_id, problem_id
from export_row
order by position
