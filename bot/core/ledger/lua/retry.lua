-- Puts a claimed deployment back for a later attempt, or ends it after the last one (rule 8).
--
-- args: id claim lease code message delay max
-- Answers {retried, record…} or {lost}. A stop request wins.

local id = args.id
if get(id, 'claim') ~= args.claim or args.claim == '' then return {'lost'} end
if not obey_stop(id) then
  again(id, now + tonumber(args.delay), tonumber(args.max), args.code, args.message)
end
return answer('retried', id)
