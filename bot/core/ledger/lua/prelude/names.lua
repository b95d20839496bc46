-- What every verb begins with: its arguments, the clock, the names of keys, and records.
--
-- KEYS[1] the list of normal builds, KEYS[2] of high ones, KEYS[3] of fetches.
-- ARGV[1] the base of every other key. ARGV[2] the verb's arguments, JSON, every number as text.
-- ARGV[3] a delivery's payload, compressed, where a verb takes one and it is to be kept.
-- Each verb answers a list of words, the first of which says how it went.

local QUEUE, HIGH, FETCH = KEYS[1], KEYS[2], KEYS[3]
local base, args = ARGV[1], cjson.decode(ARGV[2])

local DAY = 86400
local KEEP = 30 * DAY
local LOG_KEEP = 7 * DAY

local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
-- The order of recording: milliseconds with three digits more.
local order = string.format('%d.%03d', now, tonumber(clock[2]) % 1000)

local function text(number) return string.format('%.0f', number) end
local function key(name) return base .. name end
local function record_key(id) return base .. 'deployment:' .. id end
local function ref_key(project, ref) return base .. 'ref:' .. project .. ':' .. ref end
local function open_key(project, ref) return base .. 'ref-open:' .. project .. ':' .. ref end
local function get(id, field) return redis.call('HGET', record_key(id), field) or '' end

local function read(id)
  local flat, found = redis.call('HGETALL', record_key(id)), {}
  for i = 1, #flat, 2 do found[flat[i]] = flat[i + 1] end
  return found
end

local function answer(word, id)
  local flat = redis.call('HGETALL', record_key(id))
  table.insert(flat, 1, word)
  return flat
end

local STAGES = {
  received = 'fetch', queued = 'build',
  fetching = 'fetch', building = 'build', publishing = 'build',
}
local function is_waiting(status) return status == 'received' or status == 'queued' end
local function is_active(status) return STAGES[status] ~= nil and not is_waiting(status) end

local function includes(list, word)
  for _, each in ipairs(list) do if each == word then return true end end
  return false
end
