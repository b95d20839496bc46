-- Takes what is due to be saved to the bucket; nobody else gets it before the lease ends (rule 14).
--
-- args: lease limit
-- Answers {ms until more is due, then of each: what, version, its fields as JSON}.

even_when_full()
local found = {}
local due = redis.call('ZRANGEBYSCORE', key('unsaved'), '-inf', text(now),
  'LIMIT', 0, tonumber(args.limit))
for _, what in ipairs(due) do
  local flat, fields = redis.call('HGETALL', key(what)), {}
  for i = 1, #flat, 2 do fields[flat[i]] = flat[i + 1] end
  if #flat == 0 then
    -- It is gone meanwhile: there is nothing left to save.
    redis.call('ZREM', key('unsaved'), what)
  else
    if redis.call('ZSCORE', key('history:' .. (fields.project or '')), fields.id or '') then
      fields.history = '1'
    end
    local slug = string.match(what, '^project:(.*)$')
    if slug and fields.looked_at then fields.noted = cjson.encode(noted_heads(slug)) end
    redis.call('ZADD', key('unsaved'), text(now + tonumber(args.lease)), what)
    table.insert(found, what)
    table.insert(found, version_of(what))
    table.insert(found, cjson.encode(fields))
  end
end
local first = redis.call('ZRANGE', key('unsaved'), 0, 0, 'WITHSCORES')
local wait = first[2] and math.max(tonumber(first[2]) - now, 0) or 5000
table.insert(found, 1, text(math.min(wait, 5000)))
return found
