-- A project: which one it is, what is known of it, and the order of what is of it.

-- The project of a repository: by GitHub's id, which a rename keeps, else by name. Or nil.
local function find_project(repository, repository_id)
  local slug = repository_id ~= '0' and redis.call('GET', key('repository:' .. repository_id))
  if slug then return slug end
  slug = redis.call('GET', key('name:' .. string.lower(repository)))
  if slug then
    local theirs = redis.call('HGET', key('project:' .. slug), 'repository_id') or '0'
    -- The name of a repository that was renamed away, now borne by another one.
    if theirs ~= '0' and repository_id ~= '0' and theirs ~= repository_id then return nil end
    return slug
  end
  return nil
end

-- The next of the numbers that order what is of a project. They carry the time: in a ledger that
-- has come back older, or was begun anew, they go on above those that were given before.
local function next_seq(slug)
  local project = key('project:' .. slug)
  local seq = math.max(tonumber(redis.call('HGET', project, 'seq') or '0') + 1, now)
  redis.call('HSET', project, 'seq', text(seq))
  return text(seq)
end

-- A project, or one of its settings, is new.
local function change_project(slug)
  local project = key('project:' .. slug)
  local version = tonumber(redis.call('HGET', project, 'version') or '0')
  redis.call('HSET', project, 'version', text(math.max(version + 1, now)))
  save('project:' .. slug)
end

-- One of a project's secrets is new, or gone.
local function change_secrets(slug)
  local secrets = key('secrets:' .. slug)
  local version = tonumber(redis.call('HGET', secrets, 'version') or '0')
  redis.call('HSET', secrets, 'version', text(math.max(version + 1, now)))
  save('secrets:' .. slug)
end

-- Makes a project under the first of the slugs that is free.
local function begin_project(repository, repository_id, slugs)
  for _, slug in ipairs(slugs) do
    if redis.call('EXISTS', key('project:' .. slug)) == 0 then
      redis.call('HSET', key('project:' .. slug), 'slug', slug, 'repository', repository,
        'repository_id', repository_id, 'default_branch', '', 'production_branch', '',
        'seq', '0', 'created_at', text(now))
      redis.call('ZADD', key('projects'), now, slug)
      return slug
    end
  end
  return nil
end

local function make_project(repository, repository_id, slugs)
  local slug = begin_project(repository, repository_id, slugs)
  if slug then
    redis.call('SET', key('name:' .. string.lower(repository)), slug)
    change_project(slug)
  end
  return slug
end

-- What a delivery says of its repository; a late one does not rename it back.
local function learn(slug, repository, repository_id, default_branch, private, pushed_at)
  local project = key('project:' .. slug)
  if tonumber(redis.call('HGET', project, 'pushed_at') or '0') > tonumber(pushed_at) then return end
  local function settings()
    return cjson.encode(redis.call('HMGET', project, 'repository', 'repository_id', 'private',
      'default_branch'))
  end
  local known = settings()
  local before, main = unpack(redis.call('HMGET', project, 'repository', 'main'))
  local is_further = (main or '') ~= ''
  if not is_further and before and string.lower(before) ~= string.lower(repository)
    and redis.call('GET', key('name:' .. string.lower(before))) == slug then
    redis.call('DEL', key('name:' .. string.lower(before)))
  end
  redis.call('HSET', project, 'repository', repository, 'pushed_at', pushed_at, 'private', private)
  if repository_id ~= '0' then redis.call('HSET', project, 'repository_id', repository_id) end
  -- The name and the id lead to the main project of the repository, and that one to the others.
  if not is_further then
    redis.call('SET', key('name:' .. string.lower(repository)), slug)
    if repository_id ~= '0' then redis.call('SET', key('repository:' .. repository_id), slug) end
  end
  if default_branch ~= '' then redis.call('HSET', project, 'default_branch', default_branch) end
  if settings() ~= known then change_project(slug) end
end

local function production_ref(slug)
  local branch, default = unpack(redis.call('HMGET', key('project:' .. slug),
    'production_branch', 'default_branch'))
  if branch and branch ~= '' then return 'refs/heads/' .. branch end
  if default and default ~= '' then return 'refs/heads/' .. default end
  return ''
end
