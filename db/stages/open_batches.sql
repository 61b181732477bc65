-- Batches that were handed in and whose results are not all here yet.
select batch.*
from batch
anti join batch_end on batch_end.batch_id = batch.id
order by batch.created_at, batch.id
