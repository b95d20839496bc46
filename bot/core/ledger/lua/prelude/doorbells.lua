-- Who waits is rung for: doorbells, and which project has how many.

-- At most so many ids of one project lie in a list, so that its hundred branches
-- do not starve another's one push.
local LIMIT = 5
-- So many of a project's waiting deployments are looked at, of which a busy ref may have hundreds.
local LOOKED_AT = 600
local PAGE = 200

local function list_of(status, priority)
  if status == 'received' then return FETCH end
  if priority == 'high' then return HIGH end
  return QUEUE
end

-- Puts a doorbell where the order of recording has its place among the last fifty; or at the tail.
local function ring(id, at_tail)
  local status, priority, own =
    unpack(redis.call('HMGET', record_key(id), 'status', 'priority', 'order'))
  local list = list_of(status, priority)
  local after = nil
  for _, other in ipairs(at_tail and {} or redis.call('LRANGE', list, -50, -1)) do
    if (tonumber(get(other, 'order')) or 0) > tonumber(own) then
      after = other
      break
    end
  end
  if after then
    redis.call('LINSERT', list, 'BEFORE', after, id)
  else
    redis.call('RPUSH', list, id)
  end
  redis.call('ZADD', key('rung'), now, id)
end

local function unring(id)
  if redis.call('ZREM', key('rung'), id) == 1 then
    local status, priority = unpack(redis.call('HMGET', record_key(id), 'status', 'priority'))
    redis.call('LREM', list_of(status, priority), 0, id)
  end
end

local function busy(project, ref, stage)
  return (redis.call('HGET', ref_key(project, ref), stage) or '') ~= ''
end

-- Set while a verb ends many of one project, which it fills once, after the last of them.
local filled_later = false

-- Rings the oldest of a project's waiting deployments, up to LIMIT in each list: its previews hold
-- its own production back as little as another project.
--
-- `own` has come to wait just now. What was held back till another of its project went lies behind
-- all that was rung meanwhile: nobody waits behind all of a project. With `only`, a list, the others
-- are as they were: when that one is full there is no need to look through all that wait.
local function fill(project, own, only)
  if filled_later then return end
  local rung, at_work = {[FETCH] = 0, [HIGH] = 0, [QUEUE] = 0}, {}
  local function waits_for_another(ref, stage)
    local name = stage .. ' ' .. ref
    if at_work[name] == nil then at_work[name] = busy(project, ref, stage) end
    return at_work[name]
  end
  local function is_full()
    return (only and rung[only] or math.min(rung[FETCH], rung[HIGH], rung[QUEUE])) >= LIMIT
  end
  for first = 0, LOOKED_AT - 1, PAGE do
    local ids = redis.call('ZRANGE', key('project-waiting:' .. project), first, first + PAGE - 1)
    local is_rung = #ids > 0 and redis.call('ZMSCORE', key('rung'), unpack(ids))
    for place, id in ipairs(ids) do
      if is_full() then return end
      local status, priority, ref, due =
        unpack(redis.call('HMGET', record_key(id), 'status', 'priority', 'ref', 'due_at'))
      local stage = STAGES[status or '']
      local list = stage and list_of(status, priority)
      if list and (not only or list == only) and rung[list] < LIMIT then
        if is_rung[place] then
          rung[list] = rung[list] + 1
        elseif tonumber(due or '0') <= now and not waits_for_another(ref, stage) then
          ring(id, id ~= own and rung[list] > 0)
          rung[list] = rung[list] + 1
        end
      end
    end
    if #ids < PAGE then return end
  end
end
