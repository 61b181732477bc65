-- Conversations, as TRL, axolotl (chat_template) and others read them: a chat template goes around the texts.
select [
    {'role': 'user', 'content': prompt},
    {'role': 'assistant', 'content': output}
] as messages
from export_row
order by position
