-- Which paths has the augmenter sampled, by this model?
select id::varchar as id
from completion
where purpose = 'augment' and model_identity = $model_identity
