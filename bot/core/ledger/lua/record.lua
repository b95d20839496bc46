-- Records a push before its delivery is answered (docs/protocol.md, rule 1).
--
-- args: id slugs guid body_sha256 repository repository_id private default_branch ref before after
--   pushed_at message author forced size form
--   The catch-up (rule 15) has neither guid nor body, but the project's slug, and `known`: what the
--   ledger knew of the ref's head before GitHub was asked.
--   That is one project's alone: the others of its repository are looked at by themselves.
-- Answers {recorded | repeated | superseded | overtaken, deployment id, those of further projects …}.

local caught_up = args.known ~= nil
local body, delivery = key('body:' .. args.body_sha256), key('delivery:' .. args.guid)
if args.pushed_at == '0' and not caught_up then args.pushed_at = clock[1] end

local function remember(id, outcome, rule)
  if caught_up then return end
  redis.call('SET', body, id, 'EX', KEEP)
  note(args, 'push', outcome, rule, id)
end

-- The word on a push, and where it led: the main project's deployment, and those of the others.
local function led(outcome, id)
  local found = {outcome, id}
  for _, other in ipairs(id ~= '' and beside(id) or {}) do table.insert(found, other) end
  return found
end

local seen = not caught_up and redis.call('GET', body)
if seen and seen ~= '' then
  remember(seen, 'repeated', 'this very body was delivered before')
  return led('repeated', seen)
end
seen = not caught_up and redis.call('HGET', delivery, 'deployment')
if seen and seen ~= '' then return led('repeated', seen) end

local slug = args.project or find_project(args.repository, args.repository_id)
  or make_project(args.repository, args.repository_id, args.slugs)
local outcome, id, rule = record_push(slug, args.id, args)
if caught_up then return led(outcome, id) end
remember(id, outcome, rule)
for _, entry in ipairs(further_entries(slug)) do
  local _, theirs = record_push(further_project(slug, entry), id_beside(id, entry), args)
  put_beside(id, theirs)
end
return led(outcome, id)
