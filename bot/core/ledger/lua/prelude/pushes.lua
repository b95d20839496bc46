-- A push in one project: whether it is news there, by GitHub's order and not by arrival.

-- Whether a deployment is one that the catch-up has found, of this very push; now it is delivered.
local function was_found(id, push)
  local trigger, ref, commit, guid =
    unpack(redis.call('HMGET', record_key(id), 'trigger', 'ref', 'commit', 'delivery'))
  if trigger ~= 'push' or ref ~= push.ref or commit ~= push.after or guid ~= '' then return false end
  redis.call('HSET', record_key(id), 'delivery', push.guid)
  return true
end

-- Records a push in a project, as the deployment `id` if it is news there. `push` has what record.lua
-- is given; and caught_up and blind_at, where the catch-up had found it in another project before.
-- Answers how that went, the deployment that it leads to, and the rule that decided.
local function record_push(slug, id, push)
  local caught_up = push.known ~= nil or push.caught_up == '1'
  local pushed_at, blind_at = push.pushed_at, push.blind_at or '0'
  local ref = ref_key(slug, push.ref)
  local newest = {}
  newest.commit, newest.pushed_at, newest.before, newest.deployment, newest.caught_up, newest.missed,
    newest.blind_at = unpack(redis.call('HMGET', ref,
      'commit', 'pushed_at', 'before', 'deployment', 'caught_up', 'missed', 'blind_at'))
  if push.known then
    if is_overtaken(slug, push.ref, push.known) then return 'overtaken', '' end
    -- GitHub's time of it is not known: only that it was there by now.
    if pushed_at == '0' then blind_at = clock[1] end
    pushed_at = at_least(slug, newest.pushed_at, pushed_at)
  else
    redis.call('HSET', key('project:' .. slug), 'delivered_at', text(now))
  end
  learn(slug, push.repository, push.repository_id, push.default_branch, push.private, pushed_at)

  -- The catch-up was quicker, or the same push came under another guise.
  if newest.commit == push.after and (newest.deployment or '') ~= '' then
    if push.known then
      know_head(slug, push.ref, push.after, redis.call('HGET', ref, 'seq'))
      return 'repeated', newest.deployment
    end
    -- Of a branch that was deleted and made again at once: a deletion from before comes late then.
    local theirs, ours = tonumber(newest.pushed_at or '0'), tonumber(pushed_at)
    if ours > theirs or (ours == theirs and push.before ~= newest.before) then
      redis.call('HSET', ref, 'pushed_at', pushed_at, 'before', push.before,
        'deletion_due', push.before == NO_COMMIT and '1' or '0')
      -- Back from a commit that we have not heard of yet: the push to that one, if it is of this very
      -- second, comes late. What no delivery has told (a find, a person's) may come right after that.
      if get(newest.deployment, 'delivery') ~= '' then
        redis.call('HSET', ref, 'missed', push.before .. ' ' .. pushed_at)
      end
    end
    if ours >= theirs and not caught_up then redis.call('HSET', ref, 'caught_up', '0') end
    was_found(newest.deployment, push)
    return 'repeated', newest.deployment, 'its commit is the newest of this branch already'
  end

  -- By GitHub's time, not by arrival; ties by the chain of before and after.
  local late = false
  if newest.pushed_at and not push.known then
    local theirs, ours = tonumber(newest.pushed_at), tonumber(pushed_at)
    local follows = newest.commit ~= nil and newest.commit ~= '' and push.before == newest.commit
    -- Where the catch-up found the newest, what was before it is not known: all that does not follow.
    local precedes = push.after == newest.before or newest.caught_up == '1'
    local missed = push.after .. ' ' .. pushed_at == newest.missed
    if missed then redis.call('HDEL', ref, 'missed') end
    local passed_over = newest.caught_up == '1' and tonumber(newest.blind_at or '0') >= ours
    late = theirs > ours or (theirs == ours and (missed or (precedes and not follows)))
      or (passed_over and not follows)
  end
  local twin = late and redis.call('HGET', key('report:' .. slug .. ':' .. push.after), 'deployment')
  if twin and was_found(twin, push) then
    return 'repeated', twin, 'the catch-up had found this push before'
  end
  if redis.call('EXISTS', record_key(id)) == 1 then return 'repeated', id end

  local seq = next_seq(slug)
  local production = push.ref == production_ref(slug)
  local fields = {
    ref = push.ref, commit = push.after, before = push.before, seq = seq, trigger = 'push',
    production = production and '1' or '0', pushed_at = pushed_at, message = push.message,
    author = push.author, delivery = push.guid, forced = push.forced,
  }
  if caught_up then fields.caught_up, fields.blind_at = '1', blind_at end
  create(id, slug, fields, production)

  if late then
    -- Of one second: what it followed is late too, should that come still later.
    if tonumber(newest.pushed_at) == tonumber(pushed_at) then
      redis.call('HSET', ref, 'before', push.before)
    end
    local why = 'a newer push of this branch came first'
    close(id, 'superseded', {reason = why, late = '1'})
    return 'superseded', id, why
  end
  redis.call('HSET', ref, 'commit', push.after, 'pushed_at', pushed_at, 'before', push.before,
    'seq', seq, 'deployment', id, 'deleted', '0', 'deletion_due', '0',
    'caught_up', caught_up and '1' or '0', 'blind_at', blind_at)
  know_head(slug, push.ref, push.after, seq)
  retire(newest.deployment)
  fill(slug, id, FETCH)
  touch(id)
  return 'recorded', id, 'a new push of a branch'
end
