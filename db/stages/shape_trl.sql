-- TRL's prompt-completion dataset (standard format): loss on the completion alone, EOS added by the trainer.
select prompt, output as completion
from export_row
order by position
