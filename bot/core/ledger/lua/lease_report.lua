-- Takes the commit that is due first to be told; nobody else gets it before the lease ends (rule 13).
--
-- args: lease claim
-- Answers {leased, project, repository, commit, version, told, told_of, failures, lease, posts of
-- this minute, posts of this hour, record…} or {none, ms to wait}.

even_when_full()
local paused = redis.call('PTTL', key('report-pause'))
if paused > 0 then return {'none', text(math.min(paused, 5000))} end
for _ = 1, 20 do
  local first = redis.call('ZRANGE', key('unreported'), 0, 0, 'WITHSCORES')
  if not first[1] then return {'none', '5000'} end
  local wait = tonumber(first[2]) - now
  if wait > 0 then return {'none', text(math.min(wait, 5000))} end
  local name = first[1]
  local report = key('report:' .. name)
  local id, version, told, told_of, failures = unpack(redis.call('HMGET', report,
    'deployment', 'version', 'told', 'told_of', 'failures'))
  if id and redis.call('EXISTS', record_key(id)) == 1 then
    redis.call('ZADD', key('unreported'), text(now + tonumber(args.lease)), name)
    redis.call('HSET', report, 'lease', args.claim)
    local project, commit = string.match(name, '^(.*):(%x+)$')
    -- A rename since then: GitHub knows the repository by its new name.
    local repository = redis.call('HGET', key('project:' .. project), 'repository')
    local minute, hour = unpack(redis.call('MGET', key('posts-minute'), key('posts-hour')))
    local found = answer('leased', id)
    for i, word in ipairs({
      project, repository or get(id, 'repository'), commit, version, told or '', told_of or '',
      failures or '0', args.claim, minute or '0', hour or '0',
    }) do
      table.insert(found, i + 1, word)
    end
    return found
  end
  -- Its record is gone: there is nothing left to tell.
  redis.call('ZREM', key('unreported'), name)
end
return {'none', '100'}
