-- Ends every backoff: a process that starts may have better credentials. Leases and GitHub's own
-- limit go on (rule 13).
--
-- args: limit
-- Answers {commits that are due now}.

local hastened = 0
for _, name in ipairs(redis.call('ZRANGEBYSCORE', key('unreported'), '(' .. text(now), '+inf',
    'LIMIT', 0, tonumber(args.limit))) do
  if (redis.call('HGET', key('report:' .. name), 'lease') or '') == '' then
    redis.call('ZADD', key('unreported'), now, name)
    hastened = hastened + 1
  end
end
return {text(hastened)}
