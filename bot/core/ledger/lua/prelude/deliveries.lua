-- Deliveries: what each led to, and its payload.

-- So many deliveries are listed, and so many bytes of their payloads kept, of the newest ones.
local DELIVERIES_MOST = 100000
local PAYLOADS_MOST = 128 * 1024 * 1024

-- Takes deliveries out of an index, and their payloads away.
local function drop_payloads(index, guids)
  for _, guid in ipairs(guids) do
    redis.call('ZREM', key(index), guid)
    redis.call('ZREM', key('payloads'), guid)
    redis.call('DEL', key('payload:' .. guid))
  end
end

-- Keeps a delivery's payload. Each is filed under the bytes that were kept so far, its own too: what
-- the last PAYLOADS_MOST bytes push out is what is filed below them.
local function keep_payload(guid, payload)
  local index = key('payloads')
  local filed = #payload + tonumber(redis.call('ZRANGE', index, -1, -1, 'WITHSCORES')[2] or '0')
  redis.call('SET', key('payload:' .. guid), payload, 'EX', KEEP)
  redis.call('ZADD', index, text(filed), guid)
  if filed > PAYLOADS_MOST then
    drop_payloads('payloads', redis.call('ZRANGEBYSCORE', index, '-inf',
      text(filed - PAYLOADS_MOST), 'LIMIT', 0, 20))
  end
end

-- What a delivery led to, and what is kept of it. The first word on it stays, unless that was
-- nothing: delivered once more, it may have led to something.
local function note(delivery, event, outcome, rule, id)
  local name, index = key('delivery:' .. delivery.guid), key('deliveries')
  local before = redis.call('HGET', name, 'outcome')
  if before and before ~= 'ignored' then return end
  local slug = id ~= '' and get(id, 'project')
    or find_project(delivery.repository, delivery.repository_id) or ''
  redis.call('HSET', name, 'at', text(now), 'event', event, 'project', slug,
    'repository', delivery.repository, 'ref', delivery.ref, 'before', delivery.before,
    'after', delivery.after, 'outcome', outcome, 'rule', rule, 'deployment', id,
    'answer', id ~= '' and '202' or '200', 'size', delivery.size, 'form', delivery.form)
  redis.call('EXPIRE', name, KEEP)
  redis.call('ZADD', index, order, delivery.guid)
  if ARGV[3] then keep_payload(delivery.guid, ARGV[3]) end

  drop_payloads('deliveries', redis.call('ZRANGEBYSCORE', index, '-inf', text(now - KEEP * 1000),
    'LIMIT', 0, 20))
  local over = redis.call('ZCARD', index) - DELIVERIES_MOST
  if over > 0 then
    drop_payloads('deliveries', redis.call('ZRANGE', index, 0, math.min(over, 20) - 1))
  end
end
