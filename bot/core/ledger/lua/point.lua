-- Moves production as a person asks: promote, rollback, unpin (rule 11). Rebuilds nothing.
--
-- args: mode id project key
-- Answers {moved, label, deployment, previous, pinned} or {not_found}, {not_ready},
-- {release_gone}, {nothing_to_roll_back_to}.

even_when_full()
local before = answered(args.key)
if before then return before end

local id = args.id or ''
local slug = args.project or ''
if args.mode == 'promote' then slug = get(id, 'project') end
if slug == '' or redis.call('EXISTS', key('project:' .. slug)) == 0 then return {'not_found'} end

local alias, history = key('alias:' .. slug), key('history:' .. slug)
local live = redis.call('HGET', alias, 'deployment') or ''
local newest = redis.call('ZREVRANGE', history, 0, 0)[1] or ''

if args.mode == 'rollback' and id == '' then
  local below = redis.call('ZSCORE', history, live)
  local top = below and '(' .. below or '+inf'
  for _, candidate in ipairs(redis.call('ZREVRANGEBYSCORE', history, top, '-inf', 'LIMIT', 0, 50)) do
    if candidate ~= live and get(candidate, 'release') ~= '' then
      id = candidate
      break
    end
  end
  if id == '' then return {'nothing_to_roll_back_to'} end
elseif args.mode == 'unpin' then
  if newest == '' then return {'nothing_to_roll_back_to'} end
  id = newest
end

local status, project, release, seq, condemned_at = unpack(redis.call('HMGET', record_key(id),
  'status', 'project', 'release', 'seq', 'condemned_at'))
if not status or project ~= slug then return {'not_found'} end
if status ~= 'ready' or not release or release == '' then return {'not_ready'} end
if (condemned_at or '0') ~= '0' then return {'release_gone'} end

-- Promoting the newest lets production follow pushes again.
local pinned = (args.mode == 'unpin' or (args.mode == 'promote' and id == newest)) and '0' or '1'
local moves = next_seq(slug)
redis.call('HSET', alias, 'project', slug, 'kind', 'production', 'seq', moves,
  'deployment_seq', seq, 'deployment', id, 'release', release, 'pinned', pinned,
  'moved_at', text(now))
say('alias:' .. slug)
save('alias:' .. slug)
-- It is live now, whatever kept it from that when it ended.
if string.sub(get(id, 'reason'), 1, 15) == 'built, not live' then
  redis.call('HSET', record_key(id), 'reason', '')
  touch(id)
  save('deployment:' .. id)
end
local found = {'moved', slug, id, live, pinned}
remember_answer(args.key, found)
return found
