-- Ends a claimed deployment; a ready one moves its aliases, only forward (rule 7).
--
-- args: id claim status from fields packs own_label branch_label
--   packs are the objects that the release's manifest names.
-- Answers {finished, record…}, {lost}, or {condemned}: the release is to be published anew, without
-- the packs that the collector has condemned. Repeated by the same claim it answers the same.

even_when_full()
local id = args.id
local record = read(id)
if record.ended_claim == args.claim and args.claim ~= '' then return answer('finished', id) end
if record.claim ~= args.claim then return {'lost'} end
if obey_stop(id) then return answer('finished', id) end
if not includes(args.from, record.status) then return {'lost'} end

local fields = args.fields
if args.status == 'ready' then
  for at = 1, #args.packs, 500 do
    local last = math.min(at + 499, #args.packs)
    for _, due in ipairs(redis.call('ZMSCORE', key('condemned'), unpack(args.packs, at, last))) do
      if due then return {'condemned'} end
    end
  end
  local slug, release = record.project, fields.release
  local ref_commit = redis.call('HGET', ref_key(slug, record.ref), 'commit') or ''
  local branch = args.branch_label ~= ''
  local newest = record.trigger ~= 'redeploy' or ref_commit == record.commit
  fields.error_code, fields.error_message = '', ''

  move(args.own_label, slug, 'deployment', id, record.seq, release)
  if branch and newest then
    move(args.branch_label, slug, 'branch', id, record.seq, release)
  end
  if branch and record.production == '1' then
    if newest then
      local how = move(slug, slug, 'production', id, record.seq, release)
      redis.call('ZADD', key('history:' .. slug), record.seq, id)
      redis.call('ZREMRANGEBYRANK', key('history:' .. slug), 0, -1001)
      if how == 'pinned' then fields.reason = 'built, not live: production is pinned' end
      if how == 'newer' then fields.reason = 'built, not live: a newer deployment is live' end
    else
      fields.reason = 'built, not live: its branch has a newer commit; promote it to make it live'
    end
  end
end
if args.status == 'errored' then
  redis.call('LPUSH', key('dead'), id)
  redis.call('LTRIM', key('dead'), 0, 999)
end
close(id, args.status, fields)
return answer('finished', id)
