-- Takes a deleted branch down: a seq, a stop for all that is of the ref, a tombstone (rule 10).
--
-- args: guid body_sha256 repository repository_id ref before pushed_at branch_slugs
-- Answers {removed | late | repeated | unknown, ''}.

local body = key('body:' .. args.body_sha256)
if redis.call('GET', body) then return {'repeated', ''} end
local slug = find_project(args.repository, args.repository_id)
if not slug then return {'unknown', ''} end
redis.call('SET', body, '', 'EX', KEEP)

local ref = ref_key(slug, args.ref)
local commit, pushed_at, before = unpack(redis.call('HMGET', ref, 'commit', 'pushed_at', 'before'))
if pushed_at then
  local theirs, ours = tonumber(pushed_at), tonumber(args.pushed_at)
  -- In the same second: the branch was made again when its newest push did not follow ours.
  local again = theirs == ours and commit ~= args.before
  if theirs > ours or again then return {'late', ''} end
end

local seq = redis.call('HINCRBY', key('project:' .. slug), 'seq', 1)
redis.call('HSET', ref, 'commit', '', 'pushed_at', args.pushed_at, 'before', args.before,
  'seq', text(seq), 'deployment', '', 'deleted', '1')
for _, id in ipairs(redis.call('ZRANGE', open_key(slug, args.ref), 0, -1)) do
  stop(id, 'cancelled', 'its branch was deleted')
end

local label = args.branch_slugs[text(string.len(slug))] .. '--' .. slug
local alias = key('alias:' .. label)
redis.call('HSET', alias, 'project', slug, 'kind', 'branch', 'seq', text(seq),
  'deployment_seq', text(seq), 'deployment', '', 'release', '', 'pinned', '0',
  'moved_at', text(now))
say('alias:' .. label)
return {'removed', ''}
