-- TRL's conversational preference dataset: the trainer puts the model's chat template around all three.
select
    [{'role': 'user', 'content': trim(prompt, chr(10) || ' ')}] as prompt,
    [{'role': 'assistant', 'content': trim(chosen, chr(10) || ' ')}] as chosen,
    [{'role': 'assistant', 'content': trim(rejected, chr(10) || ' ')}] as rejected
from export_row
order by position
