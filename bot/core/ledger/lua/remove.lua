-- Takes a deleted branch down: a seq, a stop for all that is of the ref, a tombstone (rule 10).
--
-- args: guid body_sha256 repository repository_id ref before pushed_at branch_slugs
-- Answers {removed | late | repeated | unknown, ''}.

local body = key('body:' .. args.body_sha256)
if redis.call('GET', body) then
  note(args, 'push', 'repeated', 'this very body was delivered before', '')
  return {'repeated', ''}
end
local slug = find_project(args.repository, args.repository_id)
if not slug then
  note(args, 'push', 'ignored', 'a branch was deleted of a repository that has no project', '')
  return {'unknown', ''}
end
if args.pushed_at == '0' then args.pushed_at = clock[1] end
redis.call('SET', body, '', 'EX', KEEP)

local ref = ref_key(slug, args.ref)
local commit, pushed_at, due = unpack(redis.call('HMGET', ref, 'commit', 'pushed_at', 'deletion_due'))
if pushed_at then
  local theirs, ours = tonumber(pushed_at), tonumber(args.pushed_at)
  -- In the same second: the branch was made again when its newest push is not the one that we
  -- follow, or made it at the same commit.
  local again = theirs == ours and (commit ~= args.before or due == '1')
  if theirs > ours or again then
    redis.call('HSET', ref, 'deletion_due', '0')
    note(args, 'push', 'late', 'the branch was pushed again after this deletion', '')
    return {'late', ''}
  end
end

local seq = redis.call('HINCRBY', key('project:' .. slug), 'seq', 1)
-- The push that we follow is late when it comes later; once it is known, another one to its
-- commit makes the branch again.
redis.call('HSET', ref, 'commit', '', 'pushed_at', args.pushed_at,
  'before', commit == args.before and '' or args.before,
  'seq', text(seq), 'deployment', '', 'deleted', '1')
for _, id in ipairs(redis.call('ZRANGE', open_key(slug, args.ref), 0, -1)) do
  stop(id, 'cancelled', 'its branch was deleted')
end

local label = args.branch_slugs[text(string.len(slug))] .. '--' .. slug
local alias = key('alias:' .. label)
redis.call('HSET', alias, 'project', slug, 'kind', 'branch', 'seq', text(seq),
  'deployment_seq', text(seq), 'deployment', '', 'release', '', 'pinned', '0',
  'moved_at', text(now))
-- Until then it says why there is nothing; what could still end was asked to stop, and a stop wins.
redis.call('EXPIRE', alias, KEEP)
say('alias:' .. label)
note(args, 'push', 'removed', 'the branch was deleted', '')
return {'removed', ''}
