-- Ends a restoration. A ledger without an epoch gets one above all that were seen, and so is open.
--
-- args: token furthest_epoch noted projects aliases deployments
-- Answers {ended}.

local restoring = key('restoring')
local token, begun_at = unpack(redis.call('HMGET', restoring, 'token', 'begun_at'))
if epoch == 0 then
  epoch = math.max(now, tonumber(args.furthest_epoch) + 1, told_epoch + 1)
  redis.call('HSET', key('epoch'), 'id', text(epoch))
  redis.call('HDEL', key('epoch'), 'told_epoch', 'told_tick')
end
if args.noted ~= '' then
  redis.call('HSET', key('restored'), 'epoch', text(epoch), 'begun_at', begun_at or text(now),
    'ended_at', text(now), 'projects', args.projects, 'aliases', args.aliases,
    'deployments', args.deployments)
end
if token == args.token then redis.call('DEL', restoring) end
return {'ended'}
