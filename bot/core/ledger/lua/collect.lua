-- Takes or prolongs the right to collect, which one process has at a time.
--
-- args: lease ms when
--   when is `due` for a round that comes by itself, `now` for one that is asked for, and `on` to go
--   on with a round under way.
-- Answers {all}, or {due} for a round that only deletes what was condemned; {busy} while another
-- has it, {later} when no round is due, {lost} when it cannot go on.

local holder = redis.call('GET', key('collector'))
if holder and holder ~= args.lease then return {args.when == 'on' and 'lost' or 'busy'} end
if args.when == 'on' and not holder then return {'lost'} end

local what = 'all'
if args.when == 'due' then
  local whole_at, next_at = unpack(redis.call('HMGET', key('collected'), 'whole_at', 'next_at'))
  if not whole_at then
    -- A ledger that begins: nothing is old enough yet, or it is to be restored first.
    redis.call('HSET', key('collected'), 'whole_at', text(now + DAY * 1000), 'next_at', '0')
    return {'later'}
  end
  if tonumber(next_at) > now then return {'later'} end
  if tonumber(whole_at) > now then
    local first = redis.call('ZRANGE', key('condemned'), 0, 0, 'WITHSCORES')
    if not first[1] or tonumber(first[2]) > now then return {'later'} end
    what = 'due'
  end
end
redis.call('SET', key('collector'), args.lease, 'PX', args.ms)
return {what}
