-- Moves a claimed deployment on: to `queued`, giving the claim up, or to `publishing` (rule 5).
--
-- args: id claim lease to from fields default_branch
--   fields.ref names the branch that a request for HEAD turned out to mean; default_branch is what
--   git says of a repository that no delivery has described yet.
-- Answers {advanced, record…}, or the reason to stop: {lost}, {cancelled}, {superseded}.

even_when_full()
local id = args.id
local record = read(id)
if record.advanced_by == args.claim and args.to == 'queued' then return answer('advanced', id) end
if record.claim ~= args.claim or not includes(args.from, record.status) then
  if record.claim == args.claim and record.status == args.to then return answer('advanced', id) end
  return {'lost'}
end
if record.stop and record.stop ~= '' then return {record.stop} end

for name, value in pairs(args.fields) do redis.call('HSET', record_key(id), name, value) end
redis.call('ZADD', key('active'), text(now + tonumber(args.lease)), id)
redis.call('HSET', record_key(id), 'status', args.to, args.to .. '_at', text(now))

if args.to == 'queued' then
  local ref = ref_key(record.project, record.ref)
  release_stage(id, record)
  redis.call('HSET', record_key(id), 'claim', '', 'advanced_by', args.claim,
    'error_code', '', 'error_message', '')
  redis.call('ZADD', key('waiting'), record.order, id)
  redis.call('ZADD', key('project-waiting:' .. record.project), record.order, id)

  if args.default_branch ~= '' then
    local project = key('project:' .. record.project)
    if (redis.call('HGET', project, 'default_branch') or '') == '' then
      redis.call('HSET', project, 'default_branch', args.default_branch)
      change_project(record.project)
    end
    redis.call('HSET', record_key(id), 'production',
      (args.fields.ref or record.ref) == production_ref(record.project) and '1' or '0')
  end
  if args.fields.ref and args.fields.ref ~= record.ref then
    redis.call('ZREM', open_key(record.project, record.ref), id)
    record.ref = args.fields.ref
    ref = ref_key(record.project, record.ref)
    redis.call('ZADD', open_key(record.project, record.ref), record.seq, id)
  end

  if record.trigger == 'push' then
    local ahead = tonumber(redis.call('HGET', ref, 'advanced_seq') or '0')
    if tonumber(record.seq) > ahead then redis.call('HSET', ref, 'advanced_seq', record.seq) end
    filled_later = true
    for _, older in ipairs(redis.call('ZRANGEBYSCORE', open_key(record.project, record.ref),
        '-inf', '(' .. record.seq)) do
      local status, trigger, production =
        unpack(redis.call('HMGET', record_key(older), 'status', 'trigger', 'production'))
      -- An active production build is let finish: steady pushes must not starve it.
      if trigger == 'push' and (is_waiting(status) or production ~= '1') then
        stop(older, 'superseded', 'a newer push of this branch came')
      end
    end
    filled_later = false
  elseif record.trigger == 'manual' then
    -- What a person fetched is the ref's newest, unless a push was recorded meanwhile.
    local commit = args.fields.commit or record.commit
    local seq = tonumber(redis.call('HGET', ref, 'seq') or '0')
    if seq < tonumber(record.seq) and redis.call('HGET', ref, 'commit') ~= commit
      and string.sub(record.ref, 1, 11) == 'refs/heads/' then
      retire(redis.call('HGET', ref, 'deployment'))
      redis.call('HSET', ref, 'commit', commit, 'seq', record.seq, 'deployment', id, 'deleted', '0')
    end
  end
  fill(record.project, id)
end
touch(id)
return answer('advanced', id)
