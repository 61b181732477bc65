-- Completions that a batch at work will bring: they are neither there nor to be bought again.
select batch_call.completion_id as id
from batch_call
semi join batch on batch.id = batch_call.batch_id
anti join batch_end on batch_end.batch_id = batch_call.batch_id
