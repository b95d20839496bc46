-- Gives up the release of a deployment: from now on no alias may name it, and its own host says
-- that it is gone. Its objects are condemned and deleted later.
--
-- args: lease id keep labels own_label
--   keep is how many of production's newest stay; labels are those of the aliases that may name it.
-- Answers {condemned}, or why not: {named} by an alias, {kept} for production, {gone}, {lost}.

if redis.call('GET', key('collector')) ~= args.lease then return {'lost'} end
local id = args.id
local record = read(id)
if record.status ~= 'ready' or (record.condemned_at or '0') ~= '0' then return {'gone'} end
for _, label in ipairs(args.labels) do
  if redis.call('HGET', key('alias:' .. label), 'release') == record.release then return {'named'} end
end
local history = key('history:' .. record.project)
local rank = redis.call('ZREVRANK', history, id)
if rank and rank < tonumber(args.keep) then return {'kept'} end

redis.call('ZREM', history, id)
redis.call('HSET', record_key(id), 'condemned_at', text(now))
redis.call('HINCRBY', record_key(id), 'version', 1)
if redis.call('HGET', ref_key(record.project, record.ref), 'deployment') ~= id then
  redis.call('EXPIRE', record_key(id), KEEP)
end
local own = key('alias:' .. args.own_label)
if redis.call('EXISTS', own) == 1 then
  redis.call('HSET', own, 'release', '', 'moved_at', text(now))
  redis.call('EXPIRE', own, KEEP)
  say('alias:' .. args.own_label)
end
say('deployment:' .. id)
save('deployment:' .. id)
return {'condemned'}
