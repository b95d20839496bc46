-- The further projects of a repository (docs/decisions/0013): by their entry in its file, under the
-- slug of its main project; and their deployments of what the main one has a deployment of.

local function further_project(main, entry)
  return redis.call('HGET', key('further:' .. main), entry) or nil
end

-- The entries that are known, in an order that is always the same.
local function further_entries(main)
  local entries = redis.call('HKEYS', key('further:' .. main))
  table.sort(entries)
  return entries
end

local function index_further(main, entry, slug)
  redis.call('HSET', key('further:' .. main), entry, slug)
end

-- Makes a further project, of which is known what is known of the main one.
local function make_further(main, entry, slugs)
  local repository, repository_id, private, default_branch, delivered_at =
    unpack(redis.call('HMGET', key('project:' .. main), 'repository', 'repository_id', 'private',
      'default_branch', 'delivered_at'))
  local slug = begin_project(repository, repository_id, slugs)
  if not slug then return nil end
  local project = key('project:' .. slug)
  redis.call('HSET', project, 'main', main, 'entry', entry, 'default_branch', default_branch)
  if private then redis.call('HSET', project, 'private', private) end
  if delivered_at then redis.call('HSET', project, 'delivered_at', delivered_at) end
  index_further(main, entry, slug)
  change_project(slug)
  return slug
end

-- The id of the deployment of a further project beside the main one's: of the same time, and always
-- the same, so whoever records it again finds it.
local ALPHABET = '0123456789abcdefghjkmnpqrstvwxyz'
local function id_beside(id, entry)
  local digest, chance = redis.sha1hex(id .. ' ' .. entry), ''
  for at = 1, 13, 2 do
    local place = tonumber(string.sub(digest, at, at + 1), 16) % 32 + 1
    chance = chance .. string.sub(ALPHABET, place, place)
  end
  return string.sub(id, 1, 10) .. chance
end

-- The deployments of the further projects that a main project's stands beside.
local function beside(id)
  local found = {}
  for other in string.gmatch(get(id, 'beside'), '[^,]+') do table.insert(found, other) end
  return found
end

local function put_beside(id, other)
  local known = beside(id)
  if other == '' or includes(known, other) then return end
  table.insert(known, other)
  redis.call('HSET', record_key(id), 'beside', table.concat(known, ','))
end
