-- The completions of one purpose that were made elsewhere and imported.
select id::varchar as id, problem_id::varchar as problem_id
from completion
where endpoint = 'import' and purpose = $purpose
order by id
