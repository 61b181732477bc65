-- TRL's preference dataset (standard format): DPOTrainer takes it, and KTOTrainer, which parts the pairs.
select prompt, chosen, rejected
from export_row
order by position
