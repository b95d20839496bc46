-- What the bucket holds is no longer unsaved, unless it has changed meanwhile; what it did not take
-- is due again later (rule 14).
--
-- args: saved ({what, version} of each) failed (what) delay
-- Answers {saved}.

even_when_full()
for _, each in ipairs(args.saved) do
  local what, version = unpack(each)
  if version_of(what) == version then
    redis.call('ZREM', key('unsaved'), what)
  else
    redis.call('ZADD', key('unsaved'), now, what)
  end
end
for _, what in ipairs(args.failed) do
  redis.call('ZADD', key('unsaved'), text(now + tonumber(args.delay)), what)
end
return {'saved'}
