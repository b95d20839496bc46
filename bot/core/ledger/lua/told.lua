-- GitHub knows: clears a commit, unless what there is to tell has changed meanwhile (rule 13).
--
-- args: project commit version lease told
-- Answers {told} or {changed} (due again at once) or {lost}.

local name = args.project .. ':' .. args.commit
local report = key('report:' .. name)
local lease, version = unpack(redis.call('HMGET', report, 'lease', 'version'))
if lease ~= args.lease then return {'lost'} end
redis.call('HSET', report, 'told', args.told, 'failures', '0', 'lease', '')
if version ~= args.version then
  redis.call('ZADD', key('unreported'), now, name)
  say('report')
  return {'changed'}
end
redis.call('ZREM', key('unreported'), name)
return {'told'}
