-- Telling GitHub failed: not before `delay` from now; for everyone when the limit is everyone's.
--
-- args: project commit version lease delay everyone
-- Answers {later} or {lost}.

local name = args.project .. ':' .. args.commit
local report = key('report:' .. name)
if redis.call('HGET', report, 'lease') ~= args.lease then return {'lost'} end
redis.call('HINCRBY', report, 'failures', 1)
redis.call('HSET', report, 'lease', '')
redis.call('ZADD', key('unreported'), text(now + tonumber(args.delay)), name)
if args.everyone ~= '' and tonumber(args.delay) > 0 then
  redis.call('SET', key('report-pause'), '1', 'PX', args.delay)
end
return {'later'}
