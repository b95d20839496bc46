-- What GitHub's heads are, as far as deliveries and looks have told: what the catch-up compares with.
-- A deleted branch has no commit, but zeros.
local NO_COMMIT = string.rep('0', 40)
local function know_head(slug, ref, commit, seq)
  redis.call('HSET', key('heads:' .. slug), ref, commit .. ' ' .. seq .. ' ' .. text(now))
end

-- The branches that were there before us: ref -> commit. No delivery has told of them.
local function noted_heads(slug)
  local flat, found = redis.call('HGETALL', key('heads:' .. slug)), {}
  for i = 1, #flat, 2 do
    local commit, seq = string.match(flat[i + 1], '^(%S+) (%S+)')
    if seq == '0' then found[flat[i]] = commit end
  end
  return found
end

-- Whether something came of a ref after the catch-up had read `known` and before it could record.
local function is_overtaken(slug, ref, known)
  return redis.call('EXISTS', key('project:' .. slug)) == 0
    or (redis.call('HGET', key('heads:' .. slug), ref) or '') ~= known
end

-- A second of GitHub's by which a ref was as the catch-up has found it: what it is said to be, or
-- the latest that a delivery has told.
local function at_least(slug, ref_pushed_at, pushed_at)
  local project_pushed_at = redis.call('HGET', key('project:' .. slug), 'pushed_at')
  return text(math.max(tonumber(pushed_at), tonumber(ref_pushed_at or '0'),
    tonumber(project_pushed_at or '0')))
end
