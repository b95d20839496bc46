-- Records a push before its delivery is answered (safety.md §2, rule 1).
--
-- args: id slugs guid body_sha256 repository repository_id private default_branch ref before after
--   pushed_at message author
-- Answers {recorded | repeated | superseded, deployment id}.

local body, delivery = key('body:' .. args.body_sha256), key('delivery:' .. args.guid)
if args.pushed_at == '0' then args.pushed_at = clock[1] end

local function remember(id, outcome, rule)
  redis.call('SET', body, id, 'EX', KEEP)
  note(args, 'push', outcome, rule, id)
end

local seen = redis.call('GET', body)
if seen and seen ~= '' then
  remember(seen, 'repeated', 'this very body was delivered before')
  return {'repeated', seen}
end
seen = redis.call('HGET', delivery, 'deployment')
if seen and seen ~= '' then return {'repeated', seen} end

local slug = find_project(args.repository, args.repository_id)
  or make_project(args.repository, args.repository_id, args.slugs)
learn(slug, args.repository, args.repository_id, args.default_branch, args.private, args.pushed_at)

local ref = ref_key(slug, args.ref)
local newest = {}
newest.commit, newest.pushed_at, newest.before, newest.deployment =
  unpack(redis.call('HMGET', ref, 'commit', 'pushed_at', 'before', 'deployment'))

-- The catch-up was quicker, or the same push came under another guise.
if newest.commit == args.after and (newest.deployment or '') ~= '' then
  -- Of a branch that was deleted and made again at once: a deletion from before comes late then.
  local theirs, ours = tonumber(newest.pushed_at or '0'), tonumber(args.pushed_at)
  if ours > theirs or (ours == theirs and args.before ~= newest.before) then
    redis.call('HSET', ref, 'pushed_at', args.pushed_at, 'before', args.before,
      'deletion_due', args.before == string.rep('0', 40) and '1' or '0')
  end
  remember(newest.deployment, 'repeated', 'its commit is the newest of this branch already')
  return {'repeated', newest.deployment}
end

-- By GitHub's time, not by arrival; ties by the chain of before and after.
local late = false
if newest.pushed_at then
  local theirs, ours = tonumber(newest.pushed_at), tonumber(args.pushed_at)
  local follows = newest.commit ~= nil and newest.commit ~= '' and args.before == newest.commit
  late = theirs > ours or (theirs == ours and args.after == newest.before and not follows)
end

local seq = next_seq(slug)
local production = args.ref == production_ref(slug)
create(args.id, slug, {
  ref = args.ref, commit = args.after, before = args.before, seq = seq, trigger = 'push',
  production = production and '1' or '0', pushed_at = args.pushed_at, message = args.message,
  author = args.author, delivery = args.guid,
}, production)

if late then
  -- Of one second: what it followed is late too, should that come still later.
  if tonumber(newest.pushed_at) == tonumber(args.pushed_at) then
    redis.call('HSET', ref, 'before', args.before)
  end
  remember(args.id, 'superseded', 'a newer push of this branch came first')
  close(args.id, 'superseded', {reason = 'a newer push of this branch came first', late = '1'})
  return {'superseded', args.id}
end
remember(args.id, 'recorded', 'a new push of a branch')
redis.call('HSET', ref, 'commit', args.after, 'pushed_at', args.pushed_at, 'before', args.before,
  'seq', seq, 'deployment', args.id, 'deleted', '0', 'deletion_due', '0')
if (newest.deployment or '') ~= '' and get(newest.deployment, 'ended_at') ~= ''
  and get(newest.deployment, 'status') ~= 'ready' then
  redis.call('EXPIRE', record_key(newest.deployment), KEEP)
end
fill(slug)
touch(args.id)
return {'recorded', args.id}
