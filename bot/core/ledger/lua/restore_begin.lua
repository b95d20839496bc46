-- Takes the right to bring back what the bucket holds (rule 14); one at a time, while it is renewed.
--
-- args: token furthest_epoch furthest_tick lease
-- Answers {held} by another, {behind}: from now on every verb is refused until the restoration has
-- ended, or {whole}: what is missing is merged while everything goes on.

local restoring = key('restoring')
local theirs = redis.call('HGET', restoring, 'token')
if theirs and theirs ~= args.token then return {'held'} end
local behind = epoch == 0 or is_behind(args.furthest_epoch, args.furthest_tick)
  or is_behind(told_epoch, told_tick)
if behind then redis.call('HDEL', key('epoch'), 'id') end
redis.call('HSET', restoring, 'token', args.token)
redis.call('HSETNX', restoring, 'begun_at', text(now))
redis.call('PEXPIRE', restoring, args.lease)
return {behind and 'behind' or 'whole'}
