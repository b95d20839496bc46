-- Puts a claimed deployment back at once and does not count the attempt (rule 12).
--
-- args: id claim lease
-- Answers {given} or {lost}.

even_when_full()
local id = args.id
local record = read(id)
if record.claim ~= args.claim or args.claim == '' then return {'lost'} end
redis.call('HINCRBY', record_key(id), STAGES[record.status] .. '_attempts', -1)
if not obey_stop(id) then to_waiting(id, now) end
return {'given'}
