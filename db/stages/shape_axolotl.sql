-- axolotl's user-defined dataset type: `format: "{instruction}"` puts nothing around the prompt, EOS is added.
select prompt as instruction, output
from export_row
order by position
