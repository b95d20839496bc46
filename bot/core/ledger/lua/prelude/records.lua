-- A new record, and what a request was answered.

-- Puts a record among those that wait, and are listed.
local function enlist(id, slug, ref, seq, at)
  redis.call('ZADD', key('deployments'), at, id)
  redis.call('ZADD', key('deployments:' .. slug), at, id)
  redis.call('ZADD', open_key(slug, ref), seq, id)
  redis.call('ZADD', key('waiting'), at, id)
  redis.call('ZADD', key('project-waiting:' .. slug), at, id)
end

-- Writes a new record and its indexes.
local function create(id, slug, fields, high)
  local project = key('project:' .. slug)
  fields.id, fields.project, fields.status = id, slug, 'received'
  fields.repository, fields.repository_id, fields.private, fields.entry =
    unpack(redis.call('HMGET', project, 'repository', 'repository_id', 'private', 'entry'))
  fields.entry = fields.entry or nil
  fields.private = fields.private or '1'
  fields.received_at, fields.order = text(now), order
  fields.priority = high and 'high' or 'normal'
  local flat = {}
  for name, value in pairs(fields) do
    flat[#flat + 1], flat[#flat + 2] = name, value
  end
  redis.call('HSET', record_key(id), unpack(flat))
  enlist(id, slug, fields.ref, fields.seq, order)
  save_soon('deployment:' .. id)
end

-- What a request with this Idempotency-Key (`key:fingerprint of its body`) was answered; nil when it
-- is new. The same key with another body is a fault of the caller's.
local function answered(once)
  if once == '' then return nil end
  local name, fingerprint = string.match(once, '^([^:]*):?(.*)$')
  local seen = redis.call('GET', key('request:' .. name))
  if not seen then return nil end
  seen = cjson.decode(seen)
  if seen.fingerprint ~= fingerprint then return {'reused', ''} end
  return seen.answer
end

local function remember_answer(once, found)
  if once == '' then return end
  local name, fingerprint = string.match(once, '^([^:]*):?(.*)$')
  redis.call('SET', key('request:' .. name),
    cjson.encode({fingerprint = fingerprint, answer = found}), 'EX', DAY)
end
