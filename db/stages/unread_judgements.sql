-- Replies of each judge in which no grade could be read.
select 'model:' || completion.model as reviewer, count(*) as replies
from completion
anti join review on review.completion_id = completion.id
where completion.purpose = 'judge'
group by all
order by all
