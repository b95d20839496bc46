-- Takes a waiting deployment: a claim id, a lease, one attempt more (rule 3).
--
-- args: id stage claim lease
-- Answers {claimed, record…}, {busy} (the end of the one at work rings for it) or {stale}.

even_when_full()
local wanted = args.stage == 'fetch' and 'received' or 'queued'
local id = args.id
local record = read(id)
local at_work = record.project and redis.call('HGET', ref_key(record.project, record.ref), args.stage)
if at_work and get(at_work, 'claim') == args.claim then return answer('claimed', at_work) end
if record.status ~= wanted then return {'stale'} end
-- Whoever claims has popped the doorbell; one more of it, rung again by a sweep meanwhile, goes too.
-- Never that of another stage, for which it waits by now.
unring(id)
local why = tonumber(record.due_at or '0') > now and 'stale'
  or busy(record.project, record.ref, args.stage) and 'busy'
if why then
  -- Its place in the list is another's.
  fill(record.project, nil, list_of(wanted, record.priority))
  return {why}
end

-- A fetch takes the newest push of its ref; the older ones are superseded when that one advances.
if args.stage == 'fetch' and record.trigger == 'push' then
  for _, other in ipairs(redis.call('ZREVRANGE', open_key(record.project, record.ref), 0, -1)) do
    local status, trigger, due = unpack(redis.call('HMGET', record_key(other), 'status', 'trigger', 'due_at'))
    if status == 'received' and trigger == 'push' and tonumber(due or '0') <= now then
      id = other
      break
    end
  end
  if id ~= args.id then
    unring(id)
    record = read(id)
  end
end

local status = args.stage == 'fetch' and 'fetching' or 'building'
local claims = record.claims and record.claims ~= '' and record.claims .. ',' or ''
redis.call('HINCRBY', record_key(id), args.stage .. '_attempts', 1)
redis.call('HSET', record_key(id), 'status', status, 'claim', args.claim, 'stop', '',
  'claims', claims .. args.claim, status .. '_at', text(now), 'due_at', '0')
redis.call('ZREM', key('waiting'), id)
redis.call('ZREM', key('delayed'), id)
redis.call('ZREM', key('project-waiting:' .. record.project), id)
redis.call('ZADD', key('active'), text(now + tonumber(args.lease)), id)
redis.call('HSET', ref_key(record.project, record.ref), args.stage, id)
touch(id)
fill(record.project, nil, list_of(wanted, record.priority))
return answer('claimed', id)
