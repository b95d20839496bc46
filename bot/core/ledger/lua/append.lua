-- Adds lines to the log of the running claim; a fenced one writes nothing (rule 3).
--
-- args: id claim lines
-- Answers {appended} or {lost}.

if get(args.id, 'claim') ~= args.claim or args.claim == '' then return {'lost'} end
local log = key('log:' .. args.id .. ':' .. args.claim)
for _, line in ipairs(args.lines) do redis.call('XADD', log, '*', 'line', line) end
-- Once: a log that the bucket has goes sooner, though its last lines may come after.
if redis.call('TTL', log) == -1 then redis.call('EXPIRE', log, LOG_KEEP) end
say('log:' .. args.id)
return {'appended'}
