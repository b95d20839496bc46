-- Takes the right to a round of the catch-up, which one process has at a time, or prolongs it.
--
-- args: holder lease since
--   holder is new for each round; since: a round that began in the last so many ms is recent enough.
-- Answers {held}, or {later, ms until it is worth asking again}.

local name = key('catch-up')
local holder, ends_at, done_from, due_at =
  unpack(redis.call('HMGET', name, 'holder', 'ends_at', 'done_from', 'due_at'))
local ends = text(now + tonumber(args.lease))
if holder == args.holder then
  redis.call('HSET', name, 'ends_at', ends)
  return {'held'}
end
if (holder or '') ~= '' and tonumber(ends_at) > now then
  return {'later', text(tonumber(ends_at) - now)}
end
local recent = tonumber(done_from or '0') >= now - tonumber(args.since)
if recent and tonumber(due_at or '0') > now then
  return {'later', text(tonumber(due_at) - now)}
end
-- Due from now until it is done: one whose process dies is begun again.
redis.call('HSET', name, 'holder', args.holder, 'ends_at', ends, 'began_at', text(now),
  'due_at', '0')
redis.call('EXPIRE', name, DAY)
return {'held'}
