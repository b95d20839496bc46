-- Takes deployments whose records are gone out of the indexes, and lets records go that ended and
-- that nothing keeps any more.
--
-- args: lease project ids
-- Answers {trimmed, taken out of the indexes, let go} or {lost}.

if redis.call('GET', key('collector')) ~= args.lease then return {'lost'} end
local out, let_go = 0, 0
for _, id in ipairs(args.ids) do
  local status, ref, condemned_at =
    unpack(redis.call('HMGET', record_key(id), 'status', 'ref', 'condemned_at'))
  if not status then
    redis.call('ZREM', key('deployments'), id)
    redis.call('ZREM', key('history:' .. args.project), id)
    out = out + redis.call('ZREM', key('deployments:' .. args.project), id)
  elseif not STAGES[status] and (status ~= 'ready' or (condemned_at or '0') ~= '0')
    and redis.call('TTL', record_key(id)) == -1
    and redis.call('HGET', ref_key(args.project, ref), 'deployment') ~= id then
    -- It was its ref's newest when it ended, or when it was condemned.
    redis.call('EXPIRE', record_key(id), KEEP)
    let_go = let_go + 1
  end
end
return {'trimmed', text(out), text(let_go)}
