-- Takes objects off the condemned: they are deleted, or something names them after all.
--
-- args: lease names
-- Answers {acquitted} or {lost}.

if redis.call('GET', key('collector')) ~= args.lease then return {'lost'} end
for _, name in ipairs(args.names) do redis.call('ZREM', key('condemned'), name) end
return {'acquitted'}
