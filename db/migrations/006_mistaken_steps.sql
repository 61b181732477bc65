-- Version 6: how many steps the mistake of a correction has. NULL until `lema rederive`, which calls nothing.

alter table correction add column mistaken_steps integer;
