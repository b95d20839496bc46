-- What has changed is said, is due to be reported and to be saved.

local changed = false
local function say(what)
  -- Once a verb: who has heard its answer knows a ledger that has come back without it.
  changed = changed or redis.call('HINCRBY', key('epoch'), 'tick', 1)
  redis.call('PUBLISH', base .. 'changed', what)
end

-- The bucket is to hold this too (rule 14): `project:<slug>`, `alias:<label>`, `deployment:<id>`.
local function save(what)
  redis.call('ZADD', key('unsaved'), now, what)
  say('save')
end

-- The same, but most of what begins has ended by then, and is saved once.
local SAVED_AFTER = 500
local function save_soon(what)
  redis.call('ZADD', key('unsaved'), 'NX', text(now + SAVED_AFTER), what)
  say('save')
end

-- What is under way comes to its end in a Redis that is full, too: it refuses only a verb whose
-- first write may need memory.
local function even_when_full() redis.call('DEL', key('nothing')) end

-- A deployment has changed: its commit is due to be reported, if it is that commit's newest.
local function touch(id)
  redis.call('HINCRBY', record_key(id), 'version', 1)
  local project, commit, seq, status =
    unpack(redis.call('HMGET', record_key(id), 'project', 'commit', 'seq', 'status'))
  if commit and commit ~= '' then
    local name = project .. ':' .. commit
    local report = key('report:' .. name)
    local newest, lease = unpack(redis.call('HMGET', report, 'seq', 'lease'))
    if tonumber(seq) >= tonumber(newest or '-1') then
      redis.call('HSET', report, 'deployment', id, 'seq', seq)
      redis.call('HINCRBY', report, 'version', 1)
      redis.call('EXPIRE', report, KEEP)
      if STAGES[status] or (lease or '') ~= '' then
        -- NX: an entry that is leased, or waits after a failure, keeps its time.
        redis.call('ZADD', key('unreported'), 'NX', now, name)
      else
        -- An end waits for no backoff; what GitHub asks of everyone is kept apart.
        redis.call('ZADD', key('unreported'), now, name)
      end
    end
  end
  say('deployment:' .. id)
end

-- A post of a reporter whose lease had passed may stand above a newer one on GitHub: which of them
-- does is not known, so the commit is told anew.
local function doubt(name)
  local report = key('report:' .. name)
  if redis.call('EXISTS', report) == 0 then return end
  redis.call('HSET', report, 'told', '')
  if (redis.call('HGET', report, 'lease') or '') ~= '' then
    redis.call('HSET', report, 'doubt', '1')
  end
  redis.call('HINCRBY', report, 'version', 1)
  redis.call('ZADD', key('unreported'), 'NX', now, name)
  say('report')
end
