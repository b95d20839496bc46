-- Takes a deleted branch down: a seq, a stop for all that is of the ref, a tombstone (rule 10).
--
-- args: guid body_sha256 repository repository_id ref before after pushed_at branch_slugs size form
--   The catch-up has neither guid nor body, but project and `known`, as in record.
-- Answers {removed | late | repeated | unknown | overtaken, ''}.

local caught_up = args.known ~= nil
local body = key('body:' .. args.body_sha256)
if not caught_up and redis.call('GET', body) then
  note(args, 'push', 'repeated', 'this very body was delivered before', '')
  return {'repeated', ''}
end
-- Takes the branch down in one project. Answers how that went, and the rule that decided.
local function remove_in(slug)
  local ref = ref_key(slug, args.ref)
  local commit, pushed_at, due, newest, deleted, found, found_blind_at = unpack(redis.call('HMGET',
    ref, 'commit', 'pushed_at', 'deletion_due', 'deployment', 'deleted', 'caught_up', 'blind_at'))
  local at, blind_at = args.pushed_at, '0'
  if caught_up then
    if is_overtaken(slug, args.ref, args.known) then return 'overtaken' end
    if at == '0' then blind_at = clock[1] end
    at = at_least(slug, pushed_at, at)
  end
  if pushed_at and not caught_up then
    local theirs, ours = tonumber(pushed_at), tonumber(at)
    -- Where GitHub's time of what was found is not known: what was there by then and is not it.
    local passed_over = found == '1' and tonumber(found_blind_at or '0') >= ours
    if deleted == '1' and found == '1' and (theirs >= ours or passed_over) then
      return 'repeated', 'the catch-up had found the branch deleted already'
    end
    -- In the same second: the branch was made again when its newest push is not the one that we
    -- follow, or made it at the same commit.
    local again = theirs == ours and (commit ~= args.before or due == '1')
    if theirs > ours or again or (passed_over and commit ~= args.before) then
      redis.call('HSET', ref, 'deletion_due', '0')
      return 'late', 'the branch was pushed again after this deletion'
    end
  end

  local seq = next_seq(slug)
  -- The push that we follow is late when it comes later; once it is known, another one to its
  -- commit makes the branch again.
  local before = commit == args.before and '' or args.before
  redis.call('HSET', ref, 'commit', '', 'pushed_at', at, 'before', before,
    'seq', seq, 'deployment', '', 'deleted', '1', 'caught_up', caught_up and '1' or '0',
    'blind_at', blind_at)
  know_head(slug, args.ref, NO_COMMIT, seq)
  retire(newest)
  filled_later = true
  for _, id in ipairs(redis.call('ZRANGE', open_key(slug, args.ref), 0, -1)) do
    stop(id, 'cancelled', 'its branch was deleted')
  end
  filled_later = false
  fill(slug)

  local label = args.branch_slugs[text(string.len(slug))] .. '--' .. slug
  local alias = key('alias:' .. label)
  -- What was deleted is said in the tombstone, for a restoration.
  redis.call('HSET', alias, 'project', slug, 'kind', 'branch', 'seq', seq,
    'deployment_seq', seq, 'deployment', '', 'release', '', 'pinned', '0',
    'moved_at', text(now), 'ref', args.ref, 'pushed_at', at, 'before', before)
  -- Until then it says why there is nothing; what could still end was asked to stop, and a stop wins.
  redis.call('EXPIRE', alias, KEEP)
  say('alias:' .. label)
  save('alias:' .. label)
  return 'removed', 'the branch was deleted'
end

local main = args.project or find_project(args.repository, args.repository_id)
if not main then
  note(args, 'push', 'ignored', 'a branch was deleted of a repository that has no project', '')
  return {'unknown', ''}
end
if not caught_up then
  if args.pushed_at == '0' then args.pushed_at = clock[1] end
  redis.call('SET', body, '', 'EX', KEEP)
end
local outcome, rule = remove_in(main)
if not caught_up then
  for _, entry in ipairs(further_entries(main)) do remove_in(further_project(main, entry)) end
  note(args, 'push', outcome, rule, '')
end
return {outcome, ''}
