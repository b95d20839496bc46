-- Puts a claimed deployment back for a later attempt, or ends it after the last one (rule 8).
--
-- args: id claim lease code message delay max counted
--   counted is empty where there is only no room: that is waited for, and is no attempt.
-- Answers {retried, record…} or {lost}. A stop request wins.

even_when_full()
local id = args.id
if get(id, 'claim') ~= args.claim or args.claim == '' then return {'lost'} end
if obey_stop(id) then return answer('retried', id) end
if args.counted == '' then
  redis.call('HINCRBY', record_key(id), STAGES[get(id, 'status')] .. '_attempts', -1)
  redis.call('HSET', record_key(id), 'error_code', args.code, 'error_message', args.message)
  to_waiting(id, now + tonumber(args.delay))
else
  again(id, now + tonumber(args.delay), tonumber(args.max), args.code, args.message)
end
return answer('retried', id)
