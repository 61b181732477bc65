-- LLaMA-Factory's alpaca formatting: `instruction` is the whole prompt (an `input` would be joined with a line end).
select prompt as instruction, output
from export_row
order by position
