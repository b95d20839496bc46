-- What every verb begins with: the names of keys, the clock, and the moves that several verbs share.
--
-- KEYS[1] the list of normal builds, KEYS[2] of high ones, KEYS[3] of fetches.
-- ARGV[1] the base of every other key. ARGV[2] the verb's arguments, JSON, every number as text.
-- ARGV[3] a delivery's payload, compressed, where a verb takes one and it is to be kept.
-- Each verb answers a list of words, the first of which says how it went.

local QUEUE, HIGH, FETCH = KEYS[1], KEYS[2], KEYS[3]
local base, args = ARGV[1], cjson.decode(ARGV[2])

local DAY = 86400
local KEEP = 30 * DAY
local LOG_KEEP = 7 * DAY
-- At most so many ids of one project lie in a list, so that its hundred branches
-- do not starve another's one push.
local LIMIT = 5
-- So many deliveries are listed, and so many bytes of their payloads kept, of the newest ones.
local DELIVERIES_MOST = 100000
local PAYLOADS_MOST = 128 * 1024 * 1024

local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
-- The order of recording: milliseconds with three digits more.
local order = string.format('%d.%03d', now, tonumber(clock[2]) % 1000)

local function text(number) return string.format('%.0f', number) end
local function key(name) return base .. name end
local function record_key(id) return base .. 'deployment:' .. id end
local function ref_key(project, ref) return base .. 'ref:' .. project .. ':' .. ref end
local function open_key(project, ref) return base .. 'ref-open:' .. project .. ':' .. ref end
local function get(id, field) return redis.call('HGET', record_key(id), field) or '' end

local function read(id)
  local flat, found = redis.call('HGETALL', record_key(id)), {}
  for i = 1, #flat, 2 do found[flat[i]] = flat[i + 1] end
  return found
end

local function answer(word, id)
  local flat = redis.call('HGETALL', record_key(id))
  table.insert(flat, 1, word)
  return flat
end

local STAGES = {
  received = 'fetch', queued = 'build',
  fetching = 'fetch', building = 'build', publishing = 'build',
}
local function is_waiting(status) return status == 'received' or status == 'queued' end
local function is_active(status) return STAGES[status] ~= nil and not is_waiting(status) end

local function includes(list, word)
  for _, each in ipairs(list) do if each == word then return true end end
  return false
end

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

local function list_of(status, priority)
  if status == 'received' then return FETCH end
  if priority == 'high' then return HIGH end
  return QUEUE
end

-- Puts a doorbell where the order of recording has its place among the last fifty; or at the tail,
-- where an older one of its project is in that list: nobody waits behind all of a project.
local function ring(id, at_tail)
  local status, priority, own =
    unpack(redis.call('HMGET', record_key(id), 'status', 'priority', 'order'))
  local list = list_of(status, priority)
  local after = nil
  for _, other in ipairs(at_tail and {} or redis.call('LRANGE', list, -50, -1)) do
    if (tonumber(get(other, 'order')) or 0) > tonumber(own) then
      after = other
      break
    end
  end
  if after then
    redis.call('LINSERT', list, 'BEFORE', after, id)
  else
    redis.call('RPUSH', list, id)
  end
  redis.call('ZADD', key('rung'), now, id)
end

local function unring(id)
  if redis.call('ZREM', key('rung'), id) == 1 then
    local status, priority = unpack(redis.call('HMGET', record_key(id), 'status', 'priority'))
    redis.call('LREM', list_of(status, priority), 0, id)
  end
end

local function busy(project, ref, stage)
  return (redis.call('HGET', ref_key(project, ref), stage) or '') ~= ''
end

-- Set while a verb ends many of one project, which it fills once, after the last of them.
local filled_later = false

-- Rings the oldest of a project's waiting deployments, up to LIMIT in each list: its previews hold
-- its own production back as little as another project.
local function fill(project)
  if filled_later then return end
  local rung = {[FETCH] = 0, [HIGH] = 0, [QUEUE] = 0}
  local ids = redis.call('ZRANGE', key('project-waiting:' .. project), 0, 199)
  for _, id in ipairs(ids) do
    if math.min(rung[FETCH], rung[HIGH], rung[QUEUE]) >= LIMIT then return end
    local status, priority, ref, due =
      unpack(redis.call('HMGET', record_key(id), 'status', 'priority', 'ref', 'due_at'))
    local stage = STAGES[status or '']
    local list = stage and list_of(status, priority)
    if list and rung[list] < LIMIT then
      if redis.call('ZSCORE', key('rung'), id) then
        rung[list] = rung[list] + 1
      elseif tonumber(due or '0') <= now and not busy(project, ref, stage) then
        ring(id, rung[list] > 0)
        rung[list] = rung[list] + 1
      end
    end
  end
end

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

-- The project of a repository: by GitHub's id, which a rename keeps, else by name. Or nil.
local function find_project(repository, repository_id)
  local slug = repository_id ~= '0' and redis.call('GET', key('repository:' .. repository_id))
  if slug then return slug end
  slug = redis.call('GET', key('name:' .. string.lower(repository)))
  if slug then
    local theirs = redis.call('HGET', key('project:' .. slug), 'repository_id') or '0'
    -- The name of a repository that was renamed away, now borne by another one.
    if theirs ~= '0' and repository_id ~= '0' and theirs ~= repository_id then return nil end
    return slug
  end
  return nil
end

-- What GitHub's heads are, as far as deliveries and looks have told: what the catch-up compares with.
-- A deleted branch has no commit, but zeros.
local NO_COMMIT = string.rep('0', 40)
local function know_head(slug, ref, commit, seq)
  redis.call('HSET', key('heads:' .. slug), ref, commit .. ' ' .. seq .. ' ' .. text(now))
end

-- Whether something came of a ref after the catch-up had read `known` and before it could record.
local function is_overtaken(slug, ref, known)
  return redis.call('EXISTS', key('project:' .. slug)) == 0
    or (redis.call('HGET', key('heads:' .. slug), ref) or '') ~= known
end

-- A second of GitHub's by which a ref was as the catch-up has found it: what it is said to be, or
-- the latest that a delivery has told.
local function at_least(slug, ref_pushed_at, pushed_at)
  local project_pushed_at = redis.call('HGET', key('project:' .. slug), 'pushed_at')
  return text(math.max(tonumber(pushed_at), tonumber(ref_pushed_at or '0'),
    tonumber(project_pushed_at or '0')))
end

-- The next of the numbers that order what is of a project. They carry the time: in a ledger that
-- has come back older, or was begun anew, they go on above those that were given before.
local function next_seq(slug)
  local project = key('project:' .. slug)
  local seq = math.max(tonumber(redis.call('HGET', project, 'seq') or '0') + 1, now)
  redis.call('HSET', project, 'seq', text(seq))
  return text(seq)
end

-- A project, or one of its settings, is new.
local function change_project(slug)
  local project = key('project:' .. slug)
  local version = tonumber(redis.call('HGET', project, 'version') or '0')
  redis.call('HSET', project, 'version', text(math.max(version + 1, now)))
  save('project:' .. slug)
end

local function make_project(repository, repository_id, slugs)
  for _, slug in ipairs(slugs) do
    if redis.call('EXISTS', key('project:' .. slug)) == 0 then
      redis.call('HSET', key('project:' .. slug), 'slug', slug, 'repository', repository,
        'repository_id', repository_id, 'default_branch', '', 'production_branch', '',
        'seq', '0', 'created_at', text(now))
      redis.call('ZADD', key('projects'), now, slug)
      redis.call('SET', key('name:' .. string.lower(repository)), slug)
      change_project(slug)
      return slug
    end
  end
  return nil
end

-- What a delivery says of its repository; a late one does not rename it back.
local function learn(slug, repository, repository_id, default_branch, private, pushed_at)
  local project = key('project:' .. slug)
  if tonumber(redis.call('HGET', project, 'pushed_at') or '0') > tonumber(pushed_at) then return end
  local function settings()
    return cjson.encode(redis.call('HMGET', project, 'repository', 'repository_id', 'private',
      'default_branch'))
  end
  local known, before = settings(), redis.call('HGET', project, 'repository')
  if before and string.lower(before) ~= string.lower(repository)
    and redis.call('GET', key('name:' .. string.lower(before))) == slug then
    redis.call('DEL', key('name:' .. string.lower(before)))
  end
  redis.call('HSET', project, 'repository', repository, 'pushed_at', pushed_at, 'private', private)
  redis.call('SET', key('name:' .. string.lower(repository)), slug)
  if repository_id ~= '0' then
    redis.call('HSET', project, 'repository_id', repository_id)
    redis.call('SET', key('repository:' .. repository_id), slug)
  end
  if default_branch ~= '' then redis.call('HSET', project, 'default_branch', default_branch) end
  if settings() ~= known then change_project(slug) end
end

local function production_ref(slug)
  local branch, default = unpack(redis.call('HMGET', key('project:' .. slug),
    'production_branch', 'default_branch'))
  if branch and branch ~= '' then return 'refs/heads/' .. branch end
  if default and default ~= '' then return 'refs/heads/' .. default end
  return ''
end

-- Writes a new record, its indexes and its doorbell.
local function create(id, slug, fields, high)
  local project = key('project:' .. slug)
  fields.id, fields.project, fields.status = id, slug, 'received'
  fields.repository, fields.repository_id, fields.private =
    unpack(redis.call('HMGET', project, 'repository', 'repository_id', 'private'))
  fields.private = fields.private or '1'
  fields.received_at, fields.order = text(now), order
  fields.priority = high and 'high' or 'normal'
  local flat = {}
  for name, value in pairs(fields) do
    flat[#flat + 1], flat[#flat + 2] = name, value
  end
  redis.call('HSET', record_key(id), unpack(flat))
  redis.call('ZADD', key('deployments'), order, id)
  redis.call('ZADD', key('deployments:' .. slug), order, id)
  redis.call('ZADD', open_key(slug, fields.ref), fields.seq, id)
  redis.call('ZADD', key('waiting'), order, id)
  redis.call('ZADD', key('project-waiting:' .. slug), order, id)
end

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

-- Points an alias at a release, only forward: `moved`, `pinned` or `newer`.
-- `deployment_seq` orders what pushes may move; `seq` counts moves and never falls.
local function move(label, slug, kind, id, seq, release)
  local alias = key('alias:' .. label)
  local theirs, pinned, moves = unpack(redis.call('HMGET', alias, 'deployment_seq', 'pinned', 'seq'))
  if pinned == '1' then return 'pinned' end
  if tonumber(theirs or '0') >= tonumber(seq) then return 'newer' end
  if tonumber(moves or '0') >= tonumber(seq) then moves = next_seq(slug) else moves = seq end
  redis.call('HSET', alias, 'project', slug, 'kind', kind, 'seq', moves, 'deployment_seq', seq,
    'deployment', id, 'release', release, 'pinned', '0', 'moved_at', text(now))
  redis.call('PERSIST', alias)
  say('alias:' .. label)
  -- A deployment's own host follows from its record.
  if kind ~= 'deployment' then save('alias:' .. label) end
  return 'moved'
end
