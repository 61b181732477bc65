-- Which of these completions is not there because prompt and reply have no room in the context of the server.
select distinct attempt.completion_id::varchar as id
from attempt
anti join completion on completion.id = attempt.completion_id
where
    list_contains(string_split($ids, ' '), attempt.completion_id::varchar)
    and attempt.status = 400
    and attempt.raw ilike '%context%'
order by id
