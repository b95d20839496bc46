-- Records a push before its delivery is answered (docs/protocol.md, rule 1).
--
-- args: id slugs guid body_sha256 repository repository_id private default_branch ref before after
--   pushed_at message author forced size form
--   The catch-up (rule 15) has neither guid nor body, but the project's slug, and `known`: what the
--   ledger knew of the ref's head before GitHub was asked.
-- Answers {recorded | repeated | superseded | overtaken, deployment id}.

local caught_up = args.known ~= nil
local body, delivery = key('body:' .. args.body_sha256), key('delivery:' .. args.guid)
if args.pushed_at == '0' and not caught_up then args.pushed_at = clock[1] end

local function remember(id, outcome, rule)
  if caught_up then return end
  redis.call('SET', body, id, 'EX', KEEP)
  note(args, 'push', outcome, rule, id)
end

-- Whether a deployment is one that the catch-up has found, of this very push; now it is delivered.
local function was_found(id)
  local trigger, ref, commit, guid =
    unpack(redis.call('HMGET', record_key(id), 'trigger', 'ref', 'commit', 'delivery'))
  if trigger ~= 'push' or ref ~= args.ref or commit ~= args.after or guid ~= '' then return false end
  redis.call('HSET', record_key(id), 'delivery', args.guid)
  return true
end

local seen = not caught_up and redis.call('GET', body)
if seen and seen ~= '' then
  remember(seen, 'repeated', 'this very body was delivered before')
  return {'repeated', seen}
end
seen = not caught_up and redis.call('HGET', delivery, 'deployment')
if seen and seen ~= '' then return {'repeated', seen} end

local slug = args.project or find_project(args.repository, args.repository_id)
  or make_project(args.repository, args.repository_id, args.slugs)
local ref = ref_key(slug, args.ref)
local newest = {}
newest.commit, newest.pushed_at, newest.before, newest.deployment, newest.caught_up, newest.missed,
  newest.blind_at = unpack(redis.call('HMGET', ref,
    'commit', 'pushed_at', 'before', 'deployment', 'caught_up', 'missed', 'blind_at'))
local blind_at = '0'
if caught_up then
  if is_overtaken(slug, args.ref, args.known) then return {'overtaken', ''} end
  -- GitHub's time of it is not known: only that it was there by now.
  if args.pushed_at == '0' then blind_at = clock[1] end
  args.pushed_at = at_least(slug, newest.pushed_at, args.pushed_at)
else
  redis.call('HSET', key('project:' .. slug), 'delivered_at', text(now))
end
learn(slug, args.repository, args.repository_id, args.default_branch, args.private, args.pushed_at)

-- The catch-up was quicker, or the same push came under another guise.
if newest.commit == args.after and (newest.deployment or '') ~= '' then
  if caught_up then
    know_head(slug, args.ref, args.after, redis.call('HGET', ref, 'seq'))
    return {'repeated', newest.deployment}
  end
  -- Of a branch that was deleted and made again at once: a deletion from before comes late then.
  local theirs, ours = tonumber(newest.pushed_at or '0'), tonumber(args.pushed_at)
  if ours > theirs or (ours == theirs and args.before ~= newest.before) then
    redis.call('HSET', ref, 'pushed_at', args.pushed_at, 'before', args.before,
      'deletion_due', args.before == NO_COMMIT and '1' or '0')
    -- Back from a commit that we have not heard of yet: the push to that one, if it is of this very
    -- second, comes late. What no delivery has told (a find, a person's) may come right after that.
    if get(newest.deployment, 'delivery') ~= '' then
      redis.call('HSET', ref, 'missed', args.before .. ' ' .. args.pushed_at)
    end
  end
  if ours >= theirs then redis.call('HSET', ref, 'caught_up', '0') end
  was_found(newest.deployment)
  remember(newest.deployment, 'repeated', 'its commit is the newest of this branch already')
  return {'repeated', newest.deployment}
end

-- By GitHub's time, not by arrival; ties by the chain of before and after.
local late = false
if newest.pushed_at and not caught_up then
  local theirs, ours = tonumber(newest.pushed_at), tonumber(args.pushed_at)
  local follows = newest.commit ~= nil and newest.commit ~= '' and args.before == newest.commit
  -- Where the catch-up found the newest, what was before it is not known: all that does not follow.
  local precedes = args.after == newest.before or newest.caught_up == '1'
  local missed = args.after .. ' ' .. args.pushed_at == newest.missed
  if missed then redis.call('HDEL', ref, 'missed') end
  local passed_over = newest.caught_up == '1' and tonumber(newest.blind_at or '0') >= ours
  late = theirs > ours or (theirs == ours and (missed or (precedes and not follows)))
    or (passed_over and not follows)
end
local twin = late and redis.call('HGET', key('report:' .. slug .. ':' .. args.after), 'deployment')
if twin and was_found(twin) then
  remember(twin, 'repeated', 'the catch-up had found this push before')
  return {'repeated', twin}
end

local seq = next_seq(slug)
local production = args.ref == production_ref(slug)
create(args.id, slug, {
  ref = args.ref, commit = args.after, before = args.before, seq = seq, trigger = 'push',
  production = production and '1' or '0', pushed_at = args.pushed_at, message = args.message,
  author = args.author, delivery = args.guid, forced = args.forced,
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
  'seq', seq, 'deployment', args.id, 'deleted', '0', 'deletion_due', '0',
  'caught_up', caught_up and '1' or '0', 'blind_at', blind_at)
know_head(slug, args.ref, args.after, seq)
retire(newest.deployment)
fill(slug, args.id, FETCH)
touch(args.id)
return {'recorded', args.id}
