-- GitHub knows a state of a commit: clears its entry, unless there is more to tell (rule 13).
--
-- args: project commit version lease deployment told posted more
--   posted is empty when nothing was posted, since nothing need be; more is the ms for which the
--   lease goes on, when the same reporter tells a newer state next, or empty.
-- Answers {told}, {more}, {changed} (due again at once) or {lost}. Repeated it answers the same.

even_when_full()
local name = args.project .. ':' .. args.commit
local report = key('report:' .. name)
local lease, settled, version, doubted =
  unpack(redis.call('HMGET', report, 'lease', 'settled', 'version', 'doubt'))
if settled == args.lease then return {'told'} end
if args.posted ~= '' then
  for span, seconds in pairs({['posts-minute'] = 60, ['posts-hour'] = 3600}) do
    if redis.call('INCR', key(span)) == 1 then redis.call('EXPIRE', key(span), seconds) end
  end
end
if lease ~= args.lease then
  if args.posted ~= '' then doubt(name) end
  return {'lost'}
end

if args.posted ~= '' then
  redis.call('HSET', report, 'told', doubted and '' or args.told, 'told_of', args.deployment,
    'failures', '0')
end
if args.more ~= '' then
  redis.call('ZADD', key('unreported'), text(now + tonumber(args.more)), name)
  return {'more'}
end
redis.call('HSET', report, 'lease', '', 'settled', args.lease)
redis.call('HDEL', report, 'doubt')
if version ~= args.version then
  redis.call('ZADD', key('unreported'), now, name)
  say('report')
  return {'changed'}
end
redis.call('ZREM', key('unreported'), name)
return {'told'}
