-- Notes what a look at a project's branches found and nobody is to hear of (rule 15).
--
-- args: project noted {ref -> commit} forgotten {ref -> what was known of its head}
--   noted are branches that were there before us, forgotten ones that are gone and have no alias.
-- Answers {noted}.

if redis.call('EXISTS', key('project:' .. args.project)) == 0 then return {'noted'} end
local heads = key('heads:' .. args.project)
local new = redis.call('HEXISTS', key('project:' .. args.project), 'looked_at') == 0
for ref, commit in pairs(args.noted) do
  new = true
  if redis.call('HEXISTS', heads, ref) == 0 then
    -- Of a ledger that was restored the refs are there, and the heads may not be.
    local told, seq, pushed_at =
      unpack(redis.call('HMGET', ref_key(args.project, ref), 'commit', 'seq', 'pushed_at'))
    if pushed_at and told and told ~= '' then
      know_head(args.project, ref, told, seq)
    else
      know_head(args.project, ref, commit, '0')
    end
  end
end
for ref, known in pairs(args.forgotten) do
  if redis.call('HGET', heads, ref) == known then
    redis.call('HDEL', heads, ref)
    new = true
  end
end
redis.call('HSET', key('project:' .. args.project), 'looked_at', text(now))
-- The branches that are not to be built are saved with the project.
if new then change_project(args.project) end
return {'noted'}
