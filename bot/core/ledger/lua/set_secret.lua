-- Keeps a secret of a project, sealed, for each of some contexts.
--
-- args: project created_at (the project's, to which it is sealed) name tokens (context -> sealed)
--   most_names most_bytes, of all that the project has
-- Answers {set, ms of now}, {unknown} or {full}.

if redis.call('HGET', key('project:' .. args.project), 'created_at') ~= args.created_at then
  return {'unknown'}
end
local secrets = key('secrets:' .. args.project)
local names, count, bytes = {}, 0, 0
local function weigh(name, token)
  bytes = bytes + string.len(token)
  if not names[name] then
    names[name], count = true, count + 1
  end
end
local flat = redis.call('HGETALL', secrets)
for i = 1, #flat, 2 do
  local context, name = string.match(flat[i], '^secret:(%a+):(.*)$')
  if name and not (name == args.name and args.tokens[context]) then weigh(name, flat[i + 1]) end
end
for _, token in pairs(args.tokens) do weigh(args.name, token) end
if count > tonumber(args.most_names) or bytes > tonumber(args.most_bytes) then return {'full'} end

for context, token in pairs(args.tokens) do
  redis.call('HSET', secrets, 'secret:' .. context .. ':' .. args.name, text(now) .. ':' .. token)
end
redis.call('HSET', secrets, 'created_at', args.created_at)
change_secrets(args.project)
return {'set', text(now)}
