-- Removes a secret of a project, of one context or (context '') of all.
--
-- args: project name context
-- Answers {unset, context …}; without any, there was none.

local secrets, found = key('secrets:' .. args.project), {'unset'}
for _, context in ipairs({'preview', 'production'}) do
  if (args.context == '' or args.context == context)
    and redis.call('HDEL', secrets, 'secret:' .. context .. ':' .. args.name) == 1 then
    table.insert(found, context)
  end
end
-- What is left, be it nothing, is what a restoration is to bring back.
if #found > 1 then change_secrets(args.project) end
return found
