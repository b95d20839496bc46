-- How far the ledger is, as a whole and thing by thing. Comes between the prelude and each verb.
--
-- args: epoch tick, the furthest that the caller has seen, and whether it is fenced. A ledger that
--   is behind that was flushed or replaced, or has come back older than it was: the verb does nothing
--   in it but tell, so that a bot which did not see as much restores it.
-- Answers {behind}, or epoch and tick and then the verb's own words.

local epoch, tick, told_epoch, told_tick =
  unpack(redis.call('HMGET', key('epoch'), 'id', 'tick', 'told_epoch', 'told_tick'))
epoch, tick = tonumber(epoch or '0'), tonumber(tick or '0')
told_epoch, told_tick = tonumber(told_epoch or '0'), tonumber(told_tick or '0')

local function is_behind(their_epoch, their_tick)
  their_epoch = tonumber(their_epoch)
  return epoch < their_epoch or (epoch == their_epoch and tick < tonumber(their_tick))
end
if is_behind(args.epoch, args.tick) then
  local theirs = tonumber(args.epoch)
  if theirs > told_epoch or (theirs == told_epoch and tonumber(args.tick) > told_tick) then
    -- One that is full does without: whoever knows better goes on being refused.
    redis.pcall('HSET', key('epoch'), 'told_epoch', args.epoch, 'told_tick', args.tick)
  end
  return {'behind'}
end
if args.fenced ~= '' and is_behind(told_epoch, told_tick) then return {'behind'} end

local function settle(words)
  table.insert(words, 1, text(changed or tick))
  table.insert(words, 1, text(epoch))
  return words
end

-- How new a thing is that the bucket holds too: `project:<slug>`, `secrets:<slug>`,
-- `alias:<label>`, `deployment:<id>`, which is the name of its key as well.
local VERSIONS = {project = 'version', secrets = 'version', alias = 'seq', deployment = 'version'}
local function version_of(what)
  return redis.call('HGET', key(what), VERSIONS[string.match(what, '^%a+')]) or '0'
end
