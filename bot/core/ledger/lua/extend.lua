-- Prolongs a lease from now (rule 4).
--
-- args: id claim lease
-- Answers {go}, {lost}, {cancelled} or {superseded}.

even_when_full()
local claim, stop_word = unpack(redis.call('HMGET', record_key(args.id), 'claim', 'stop'))
if claim ~= args.claim then return {'lost'} end
redis.call('ZADD', key('active'), text(now + tonumber(args.lease)), args.id)
if stop_word and stop_word ~= '' then return {stop_word} end
return {'go'}
