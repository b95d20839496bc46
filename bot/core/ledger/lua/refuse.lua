-- Counts deliveries that were refused, by code, and notes the newest of them.
--
-- args: counts (code -> how many) newest (oldest first, each with `ago`, ms, and words of its own)
-- Answers {noted}.

local counts, newest = key('refused-counts:' .. text(math.floor(now / 86400000))), key('refused')
for code, number in pairs(args.counts) do redis.call('HINCRBY', counts, code, number) end
redis.call('EXPIRE', counts, KEEP)
for _, each in ipairs(args.newest) do
  each.at, each.ago = text(now - tonumber(each.ago)), nil
  redis.call('LPUSH', newest, cjson.encode(each))
end
redis.call('LTRIM', newest, 0, 199)
redis.call('EXPIRE', newest, KEEP)
return {'noted'}
