-- Conversations, as axolotl (chat_template) and others read them: a chat template goes around the texts.
select [
    {'role': 'user', 'content': trim(prompt, chr(10) || ' ')},
    {'role': 'assistant', 'content': trim(output, chr(10) || ' ')}
] as messages
from export_row
order by position
