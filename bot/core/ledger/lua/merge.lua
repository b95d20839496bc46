-- Brings back what the bucket holds (rule 14): what is here and as new stays, so repeats are harmless.
--
-- args: things ({what, version, fields} of each), projects before what is theirs
-- Answers a word for each: {merged | known | expired | taken …}. Taken: the name of a project bears
-- another repository here.

-- What has ended is told to GitHub again when that is not long ago: nobody knows whether it was told.
local TOLD_AGAIN = 3600000

-- Numbers go on above all that were given.
local function raise(slug, seq)
  local project = key('project:' .. slug)
  if redis.call('EXISTS', project) == 1
    and tonumber(redis.call('HGET', project, 'seq') or '0') < tonumber(seq) then
    redis.call('HSET', project, 'seq', seq)
  end
end

local function write(name, fields)
  for field, value in pairs(fields) do redis.call('HSET', name, field, value) end
end

-- How long an ended record lasts from now, in ms, but for the newest of its ref: a release that is
-- kept for ever (nil), all else for its time since it ended or was given up.
local function left_of(status, ended_at, condemned_at)
  condemned_at = tonumber(condemned_at or '0')
  if status == 'ready' and condemned_at == 0 then return nil end
  return math.max(tonumber(ended_at), condemned_at) + KEEP * 1000 - now
end

-- An ended record lasts as it would have.
local function fade(id)
  local status, ended_at, condemned_at =
    unpack(redis.call('HMGET', record_key(id), 'status', 'ended_at', 'condemned_at'))
  if not status or STAGES[status] then return end
  local left = left_of(status, ended_at, condemned_at)
  if not left then return end
  if left > 0 then
    redis.call('PEXPIRE', record_key(id), text(left))
  else
    redis.call('DEL', record_key(id))
  end
end

local function merge_project(slug, version, fields)
  local project, seq = key('project:' .. slug), fields.seq
  local theirs = redis.call('HGET', project, 'repository_id') or '0'
  if theirs ~= '0' and fields.repository_id ~= '0' and theirs ~= fields.repository_id then
    return 'taken'
  end
  local main, entry = unpack(redis.call('HMGET', project, 'main', 'entry'))
  local is_here = redis.call('EXISTS', project) == 1
  if is_here and ((main or '') ~= (fields.main or '') or (entry or '') ~= (fields.entry or '')) then
    return 'taken'
  end
  if tonumber(version_of('project:' .. slug)) >= tonumber(version) then return 'known' end
  local pushed_at = redis.call('HGET', project, 'pushed_at') or '0'
  if tonumber(pushed_at) > tonumber(fields.pushed_at or '0') then fields.pushed_at = pushed_at end
  local noted = fields.noted
  fields.seq, fields.noted = nil, nil
  if noted then
    for ref, commit in pairs(cjson.decode(noted)) do
      if redis.call('HEXISTS', key('heads:' .. slug), ref) == 0 then
        know_head(slug, ref, commit, '0')
      end
    end
  else
    fields.looked_at = nil
  end
  write(project, fields)
  redis.call('ZADD', key('projects'), fields.created_at, slug)
  if (fields.main or '') ~= '' then
    index_further(fields.main, fields.entry, slug)
  else
    redis.call('SET', key('name:' .. string.lower(fields.repository)), slug)
    if fields.repository_id ~= '0' then
      redis.call('SET', key('repository:' .. fields.repository_id), slug)
    end
  end
  raise(slug, seq)
  return 'merged'
end

-- They are sealed to one project, whoever bears its name now: all of them, or none.
local function merge_secrets(slug, version, fields)
  if redis.call('HGET', key('project:' .. slug), 'created_at') ~= fields.created_at then
    return 'taken'
  end
  if tonumber(version_of('secrets:' .. slug)) >= tonumber(version) then return 'known' end
  redis.call('DEL', key('secrets:' .. slug))
  write(key('secrets:' .. slug), fields)
  return 'merged'
end

-- A tombstone says what became of its branch, too.
local function merge_removal(alias)
  local ref = ref_key(alias.project, alias.ref)
  if tonumber(redis.call('HGET', ref, 'seq') or '0') >= tonumber(alias.seq) then return end
  local before = redis.call('HGET', ref, 'deployment') or ''
  redis.call('HSET', ref, 'commit', '', 'pushed_at', alias.pushed_at, 'before', alias.before,
    'seq', alias.seq, 'deployment', '', 'deleted', '1')
  know_head(alias.project, alias.ref, NO_COMMIT, alias.seq)
  if before ~= '' then fade(before) end
end

local function merge_alias(label, version, fields)
  raise(fields.project, version)
  local left = tonumber(fields.moved_at) + KEEP * 1000 - now
  if fields.deployment == '' and left <= 0 then return 'expired' end
  if tonumber(version_of('alias:' .. label)) >= tonumber(version) then return 'known' end
  write(key('alias:' .. label), fields)
  -- A tombstone lasts for its time; whoever comes back stays.
  if fields.deployment == '' then
    redis.call('PEXPIRE', key('alias:' .. label), text(left))
  else
    redis.call('PERSIST', key('alias:' .. label))
  end
  if fields.ref and fields.deployment == '' then merge_removal(fields) end
  say('alias:' .. label)
  return 'merged'
end

-- The newest of a ref is the last of its pushes that was not late, or what a person fetched.
local function merge_ref(id, record)
  local ref = ref_key(record.project, record.ref)
  local advanced = (record.queued_at or '0') ~= '0'
  local push = record.trigger == 'push' and not record.late
  if not push and not (record.trigger == 'manual' and advanced) then return false end
  if push then
    local pushed_at, ahead = unpack(redis.call('HMGET', ref, 'pushed_at', 'advanced_seq'))
    if tonumber(pushed_at or '0') < tonumber(record.pushed_at) then
      redis.call('HSET', ref, 'pushed_at', record.pushed_at)
    end
    if advanced and tonumber(ahead or '0') < tonumber(record.seq) then
      redis.call('HSET', ref, 'advanced_seq', record.seq)
    end
  end
  local seq, before = unpack(redis.call('HMGET', ref, 'seq', 'deployment'))
  if tonumber(seq or '0') >= tonumber(record.seq)
    or string.sub(record.ref, 1, 11) ~= 'refs/heads/' then
    return before == id
  end
  redis.call('HSET', ref, 'commit', record.commit, 'seq', record.seq, 'deployment', id,
    'deleted', '0', 'deletion_due', '0')
  know_head(record.project, record.ref, record.commit, record.seq)
  if push then redis.call('HSET', ref, 'before', record.before) end
  if before and before ~= '' and before ~= id then fade(before) end
  return true
end

-- What had not ended begins anew; the claim that worked on it is lost. A stop that was asked for, a
-- newer push and a deletion end it at once.
local function resume(id, record)
  local slug, ref = record.project, ref_key(record.project, record.ref)
  raise(slug, record.seq)
  merge_ref(id, record)
  local stopped, why = record.stop or '', record.stop_reason
  for _, name in ipairs({'claim', 'stop', 'stop_reason', 'source', 'error_code', 'error_message'}) do
    record[name] = ''
  end
  for _, name in ipairs({'due_at', 'fetch_attempts', 'build_attempts', 'fetching_at', 'queued_at',
      'building_at', 'publishing_at'}) do
    record[name] = '0'
  end
  record.status = 'received'
  write(record_key(id), record)
  enlist(id, slug, record.ref, record.seq, record.order)

  local seq, deleted, ahead = unpack(redis.call('HMGET', ref, 'seq', 'deleted', 'advanced_seq'))
  if stopped ~= '' then
    close(id, stopped, {reason = why})
  elseif deleted == '1' and tonumber(seq) > tonumber(record.seq) then
    close(id, 'cancelled', {reason = 'its branch was deleted'})
  elseif record.trigger == 'push' and tonumber(ahead or '0') > tonumber(record.seq) then
    close(id, 'superseded', {reason = 'a newer push of this branch came'})
  else
    touch(id)
    fill(slug, id)
  end
  return 'merged'
end

local function merge_deployment(id, version, record)
  local theirs = redis.call('HGET', key('project:' .. record.project), 'repository_id') or '0'
  if theirs ~= '0' and record.repository_id ~= '0' and theirs ~= record.repository_id then
    return 'taken'
  end
  local here = read(id)
  if STAGES[record.status] then return here.status and 'known' or resume(id, record) end
  -- What has ended changes once more when its release is given up.
  local same = (here.condemned_at or '') == (record.condemned_at or '')
  if here.status and not STAGES[here.status]
    and (same or tonumber(here.version) >= tonumber(version)) then
    return 'known'
  end
  local slug, history = record.project, record.history
  record.history = nil
  local left = left_of(record.status, record.ended_at, record.condemned_at)
  raise(slug, record.seq)
  -- In a ledger that has come back older it waits or is being worked on still.
  if STAGES[here.status or ''] then withdraw(id, here) end
  if not merge_ref(id, record) and left and left <= 0 then return 'expired' end

  redis.call('DEL', record_key(id))
  write(record_key(id), record)
  redis.call('ZADD', key('deployments'), record.order, id)
  redis.call('ZADD', key('deployments:' .. slug), record.order, id)
  if history then redis.call('ZADD', key('history:' .. slug), record.seq, id) end
  if record.status == 'ready' then
    local own = 'alias:' .. id .. '--' .. slug
    if left then
      -- Its release is given up, and may be deleted already: its host must not name it.
      redis.call('ZREM', key('history:' .. slug), id)
      redis.call('DEL', key(own))
      say(own)
    elseif redis.call('EXISTS', key(own)) == 0 then
      write(key(own), {project = slug, kind = 'deployment', seq = record.seq,
        deployment_seq = record.seq, deployment = id, release = record.release, pinned = '0',
        moved_at = record.ended_at})
      say(own)
    end
  end
  if record.status == 'errored' and not redis.call('LPOS', key('dead'), id) then
    redis.call('RPUSH', key('dead'), id)
    redis.call('LTRIM', key('dead'), 0, 999)
  end
  if redis.call('HGET', ref_key(slug, record.ref), 'deployment') ~= id then fade(id) end
  if tonumber(record.ended_at) + TOLD_AGAIN > now and (record.commit or '') ~= '' then
    redis.call('HSETNX', key('report:' .. slug .. ':' .. record.commit), 'told_of', id)
    touch(id)
  else
    say('deployment:' .. id)
  end
  if STAGES[here.status or ''] then fill(slug) end
  return 'merged'
end

local MERGES = {project = merge_project, secrets = merge_secrets, alias = merge_alias,
  deployment = merge_deployment}
local found = {}
for _, thing in ipairs(args.things) do
  local kind, name = string.match(thing.what, '^(%a+):(.*)$')
  table.insert(found, MERGES[kind](name, thing.version, thing.fields))
end
return found
