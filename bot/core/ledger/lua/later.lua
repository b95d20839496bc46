-- Telling GitHub failed: not before `delay` from now; for everyone when the limit is everyone's.
--
-- args: project commit version lease delay everyone
-- Answers {later} or {lost}. Repeated it answers the same.

even_when_full()
local name = args.project .. ':' .. args.commit
local report = key('report:' .. name)
local lease, settled, version, id =
  unpack(redis.call('HMGET', report, 'lease', 'settled', 'version', 'deployment'))
if settled == args.lease then return {'later'} end
if lease ~= args.lease then
  doubt(name)
  return {'lost'}
end

-- What failed may have taken effect all the same, so what GitHub shows is not known.
redis.call('HSET', report, 'lease', '', 'settled', args.lease, 'told', '')
local delay = math.max(tonumber(args.delay), 1)
local due = now + delay
if args.everyone ~= '' then
  if delay > redis.call('PTTL', key('report-pause')) then
    redis.call('SET', key('report-pause'), '1', 'PX', text(delay))
  end
else
  redis.call('HINCRBY', report, 'failures', 1)
  -- An end that came meanwhile waits for no backoff.
  if version ~= args.version and not STAGES[get(id, 'status')] then due = now end
end
redis.call('ZADD', key('unreported'), text(due), name)
say('report')
return {'later'}
