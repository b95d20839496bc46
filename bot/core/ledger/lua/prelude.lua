-- What every verb begins with: the names of keys, the clock, and the moves that several verbs share.
--
-- KEYS[1] the list of normal builds, KEYS[2] of high ones, KEYS[3] of fetches.
-- ARGV[1] the base of every other key. ARGV[2] the verb's arguments, JSON, every number as text.
-- Each verb answers a list of words, the first of which says how it went.

local QUEUE, HIGH, FETCH = KEYS[1], KEYS[2], KEYS[3]
local base, args = ARGV[1], cjson.decode(ARGV[2])

local DAY = 86400
local KEEP = 30 * DAY
local LOG_KEEP = 7 * DAY
-- At most so many ids of one project lie in a list, so that its hundred branches
-- do not starve another's one push.
local LIMIT = 5

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

local function say(what) redis.call('PUBLISH', base .. 'changed', what) end

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

-- Puts a doorbell where the order of recording has its place: nearly always at the tail.
local function ring(id)
  local status, priority, own = unpack(redis.call('HMGET', record_key(id), 'status', 'priority', 'order'))
  local list = list_of(status, priority)
  local after = nil
  for back = 1, 50 do
    local other = redis.call('LINDEX', list, -back)
    if not other then break end
    local theirs = tonumber(get(other, 'order')) or 0
    if theirs <= tonumber(own) then break end
    after = other
  end
  if after then redis.call('LINSERT', list, 'BEFORE', after, id) else redis.call('RPUSH', list, id) end
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

-- Rings the oldest of a project's waiting deployments, up to LIMIT in each list: its previews hold
-- its own production back as little as another project.
local function fill(project)
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
        ring(id)
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

-- Ends a deployment, waiting or active: status, indexes, own doorbells, report.
local function close(id, status, fields)
  local record = read(id)
  if is_waiting(record.status) then
    unring(id)
    redis.call('ZREM', key('waiting'), id)
    redis.call('ZREM', key('delayed'), id)
    redis.call('ZREM', key('project-waiting:' .. record.project), id)
  else
    release_stage(id, record)
  end
  redis.call('ZREM', open_key(record.project, record.ref), id)
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
  fill(record.project)
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

-- What a delivery led to. The first word on it stays, unless that was nothing and, delivered once
-- more, it led to a deployment.
local function note(delivery, event, outcome, rule, id)
  local name = key('delivery:' .. delivery.guid)
  local before = redis.call('HGET', name, 'deployment')
  if before and (before ~= '' or id == '') then return end
  redis.call('HSET', name, 'at', text(now), 'event', event, 'repository', delivery.repository,
    'ref', delivery.ref, 'outcome', outcome, 'rule', rule, 'deployment', id)
  redis.call('EXPIRE', name, KEEP)
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

local function make_project(repository, repository_id, slugs)
  for _, slug in ipairs(slugs) do
    if redis.call('EXISTS', key('project:' .. slug)) == 0 then
      redis.call('HSET', key('project:' .. slug), 'slug', slug, 'repository', repository,
        'repository_id', repository_id, 'default_branch', '', 'production_branch', '',
        'seq', '0', 'created_at', text(now))
      redis.call('ZADD', key('projects'), now, slug)
      redis.call('SET', key('name:' .. string.lower(repository)), slug)
      return slug
    end
  end
  return nil
end

-- What a delivery says of its repository; a late one does not rename it back.
local function learn(slug, repository, repository_id, default_branch, private, pushed_at)
  local project = key('project:' .. slug)
  if tonumber(redis.call('HGET', project, 'pushed_at') or '0') > tonumber(pushed_at) then return end
  local before = redis.call('HGET', project, 'repository')
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
  for name, value in pairs(fields) do redis.call('HSET', record_key(id), name, value) end
  redis.call('ZADD', key('deployments'), order, id)
  redis.call('ZADD', key('deployments:' .. slug), order, id)
  redis.call('ZADD', open_key(slug, fields.ref), fields.seq, id)
  redis.call('ZADD', key('waiting'), order, id)
  redis.call('ZADD', key('project-waiting:' .. slug), order, id)
end

-- Points an alias at a release, only forward: `moved`, `pinned` or `newer`.
-- `deployment_seq` orders what pushes may move; `seq` counts moves and never falls.
local function move(label, slug, kind, id, seq, release)
  local alias = key('alias:' .. label)
  local theirs, pinned, moves = unpack(redis.call('HMGET', alias, 'deployment_seq', 'pinned', 'seq'))
  if pinned == '1' then return 'pinned' end
  if tonumber(theirs or '0') >= tonumber(seq) then return 'newer' end
  if tonumber(moves or '0') >= tonumber(seq) then
    moves = redis.call('HINCRBY', key('project:' .. slug), 'seq', 1)
  else
    moves = seq
  end
  redis.call('HSET', alias, 'project', slug, 'kind', kind, 'seq', moves, 'deployment_seq', seq,
    'deployment', id, 'release', release, 'pinned', '0', 'moved_at', text(now))
  redis.call('PERSIST', alias)
  say('alias:' .. label)
  return 'moved'
end
