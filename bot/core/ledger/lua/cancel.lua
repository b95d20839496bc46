-- Calls a deployment off: a waiting one at once, an active one by its next extension (rule 10).
--
-- args: id reason
-- Answers {cancelled | stopping | ended | unknown}.

even_when_full()
local status = get(args.id, 'status')
if status == '' then return {'unknown'} end
local how = stop(args.id, 'cancelled', args.reason)
if how == 'stopping' then return {'stopping'} end
return {how == 'ended' and 'cancelled' or 'ended'}
