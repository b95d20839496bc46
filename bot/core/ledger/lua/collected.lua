-- Ends a round of the collector, and says when the next ones may come by themselves.
--
-- args: lease whole pause
--   whole is the ms until the next round over everything, empty when this one was not over all of
--   it; pause is the ms for which none comes by itself.
-- Answers {ended} or {lost}.

if redis.call('GET', key('collector')) ~= args.lease then return {'lost'} end
redis.call('DEL', key('collector'))
redis.call('HSET', key('collected'), 'next_at', text(now + tonumber(args.pause)))
if args.whole ~= '' then
  redis.call('HSET', key('collected'), 'whole_at', text(now + tonumber(args.whole)))
end
redis.call('HSETNX', key('collected'), 'whole_at', text(now + DAY * 1000))
return {'ended'}
