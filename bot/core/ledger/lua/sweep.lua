-- Puts back what passed its deadline, and rings what lost its doorbell (rule 9).
--
-- args: max limit
-- Answers {leases expired, retries due, doorbells rung again}, as text.

even_when_full()
local limit = tonumber(args.limit)
local expired = redis.call('ZRANGEBYSCORE', key('active'), '-inf', text(now), 'LIMIT', 0, limit)
for _, id in ipairs(expired) do
  if not obey_stop(id) then
    again(id, now, tonumber(args.max), 'lease_expired',
      'the process that worked on it went away')
  end
end

local due = redis.call('ZRANGEBYSCORE', key('delayed'), '-inf', text(now), 'LIMIT', 0, limit)
for _, id in ipairs(due) do
  redis.call('ZREM', key('delayed'), id)
  redis.call('HSET', record_key(id), 'due_at', '0')
  fill(get(id, 'project'))
end

-- Doorbells that were popped and never claimed: seldom, so ids are looked up only when the lists
-- were shorter than what was rung in two sweeps running.
local rung_again = 0
local listed = redis.call('LLEN', QUEUE) + redis.call('LLEN', HIGH) + redis.call('LLEN', FETCH)
local watch = key('sweep')
if listed < redis.call('ZCARD', key('rung')) then
  local misses = redis.call('HINCRBY', watch, 'misses', 1)
  redis.call('EXPIRE', watch, DAY)
  if misses >= 2 then
    redis.call('DEL', watch)
    local old = text(now - 1000)
    for _, id in ipairs(redis.call('ZRANGEBYSCORE', key('rung'), '-inf', old, 'LIMIT', 0, limit)) do
      local status, priority = unpack(redis.call('HMGET', record_key(id), 'status', 'priority'))
      if not status or not is_waiting(status) then
        redis.call('ZREM', key('rung'), id)
      elseif not redis.call('LPOS', list_of(status, priority), id) then
        ring(id)
        rung_again = rung_again + 1
      else
        redis.call('ZADD', key('rung'), now, id)
      end
    end
  end
else
  redis.call('DEL', watch)
end

-- And those that wait without ever having been rung: the oldest few of all projects.
local filled = {}
for _, id in ipairs(redis.call('ZRANGE', key('waiting'), 0, 19)) do
  local project = get(id, 'project')
  if project ~= '' and not filled[project] then
    filled[project] = true
    fill(project)
  end
end
return {text(#expired), text(#due), text(rung_again)}
