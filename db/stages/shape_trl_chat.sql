-- TRL's conversational prompt-completion dataset: the trainer puts the model's chat template around both.
select
    [{'role': 'user', 'content': trim(prompt, chr(10) || ' ')}] as prompt,
    [{'role': 'assistant', 'content': trim(output, chr(10) || ' ')}] as completion
from export_row
order by position
