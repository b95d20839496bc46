-- Condemns objects that nothing names: nobody may newly name them, and they are deleted later.
--
-- args: lease names delay
--   delay is the ms for which they still stand. What is condemned already keeps its time.
-- Answers {condemned} or {lost}.

if redis.call('GET', key('collector')) ~= args.lease then return {'lost'} end
local due = text(now + tonumber(args.delay))
for _, name in ipairs(args.names) do
  redis.call('ZADD', key('condemned'), 'NX', due, name)
end
return {'condemned'}
