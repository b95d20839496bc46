-- Ends a round of the catch-up; the next is due in a while.
--
-- args: holder due
-- Answers {done}, or {lost} when another process has begun one meanwhile.

local name = key('catch-up')
local holder, began_at = unpack(redis.call('HMGET', name, 'holder', 'began_at'))
if holder ~= args.holder then return {'lost'} end
redis.call('HSET', name, 'holder', '', 'done_from', began_at, 'due_at', text(now + tonumber(args.due)))
redis.call('EXPIRE', name, DAY)
return {'done'}
