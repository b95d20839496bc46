-- The ways out of waiting and of work: an end, a stop, or back among the waiting.

-- Gives up the right to a ref's stage.
local function release_stage(id, record)
  local ref = ref_key(record.project, record.ref)
  local stage = STAGES[record.status]
  if stage and redis.call('HGET', ref, stage) == id then redis.call('HDEL', ref, stage) end
  redis.call('ZREM', key('active'), id)
end

-- Takes a deployment out of all that waits or is being worked on.
local function withdraw(id, record)
  if is_waiting(record.status) then
    unring(id)
    redis.call('ZREM', key('waiting'), id)
    redis.call('ZREM', key('delayed'), id)
    redis.call('ZREM', key('project-waiting:' .. record.project), id)
  else
    release_stage(id, record)
  end
  redis.call('ZREM', open_key(record.project, record.ref), id)
end

-- Ends a deployment, waiting or active: status, indexes, own doorbells, report.
local function close(id, status, fields)
  local record = read(id)
  withdraw(id, record)
  redis.call('HSET', record_key(id), 'status', status, 'ended_at', text(now),
    'ended_claim', record.claim or '', 'claim', '', 'stop', '', 'due_at', '0')
  for name, value in pairs(fields or {}) do redis.call('HSET', record_key(id), name, value) end
  if (record.building_at or '0') ~= '0' then
    local built = key('built:' .. text(math.floor(now / 60000)))
    if redis.call('INCR', built) == 1 then redis.call('EXPIRE', built, 600) end
  end
  -- A ready one lasts as long as its release is kept; the ref's newest for ever.
  if status ~= 'ready' and redis.call('HGET', ref_key(record.project, record.ref), 'deployment') ~= id then
    redis.call('EXPIRE', record_key(id), KEEP)
  end
  touch(id)
  save('deployment:' .. id)
  fill(record.project)
end

-- What was its ref's newest is not any more: from now on it lasts as long as any other.
local function retire(id)
  if (id or '') == '' then return end
  local status, ended = unpack(redis.call('HMGET', record_key(id), 'status', 'ended_at'))
  if (ended or '') ~= '' and status ~= 'ready' then redis.call('EXPIRE', record_key(id), KEEP) end
end

-- Asks a deployment to stop: a waiting one ends at once, an active one by its next extension.
local function stop(id, status, reason)
  local now_is = get(id, 'status')
  if is_waiting(now_is) then
    close(id, status, {reason = reason})
    return 'ended'
  elseif is_active(now_is) then
    -- A person's word stands above a newer push.
    if get(id, 'stop') ~= 'cancelled' then
      redis.call('HSET', record_key(id), 'stop', status, 'stop_reason', reason)
      redis.call('HINCRBY', record_key(id), 'version', 1)
      save('deployment:' .. id)
    end
    say('deployment:' .. id)
    return 'stopping'
  end
  return ''
end

-- Ends a claim as it was asked to; true when it was.
local function obey_stop(id)
  local asked, reason = unpack(redis.call('HMGET', record_key(id), 'stop', 'stop_reason'))
  if not asked or asked == '' then return false end
  close(id, asked, {reason = reason or ''})
  return true
end

-- Puts an active deployment back among the waiting, not before `due`; or ends it, when a newer
-- push of its ref has gone ahead meanwhile.
local function to_waiting(id, due)
  local record = read(id)
  local ref = ref_key(record.project, record.ref)
  local ahead = tonumber(redis.call('HGET', ref, 'advanced_seq') or '0')
  if record.trigger == 'push' and ahead > tonumber(record.seq) then
    close(id, 'superseded', {reason = 'a newer push of this branch came'})
    return
  end
  release_stage(id, record)
  redis.call('HSET', record_key(id), 'claim', '', 'due_at', text(due),
    'status', STAGES[record.status] == 'fetch' and 'received' or 'queued')
  redis.call('ZADD', key('waiting'), record.order, id)
  redis.call('ZADD', key('project-waiting:' .. record.project), record.order, id)
  if due > now then redis.call('ZADD', key('delayed'), text(due), id) end
  touch(id)
  fill(record.project)
end

-- Our fault, once more: a later attempt, or the end and the dead letter.
local function again(id, due, maximum, code, message)
  local record = read(id)
  local attempts = tonumber(record[STAGES[record.status] .. '_attempts'] or '0')
  if attempts >= maximum then
    redis.call('LPUSH', key('dead'), id)
    redis.call('LTRIM', key('dead'), 0, 999)
    close(id, 'errored', {error_code = code,
      error_message = message .. ' (given up after ' .. attempts .. ' attempts)'})
  else
    redis.call('HSET', record_key(id), 'error_code', code, 'error_message', message)
    to_waiting(id, due)
  end
end
