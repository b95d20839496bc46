-- Sets what a person has set of a project, or makes it before its first push.
--
-- args: project repository production_branch settings (JSON) before
--   With `repository` it is made where it is not; it is bound to GitHub's id by the first push. With
--   `before`, the settings' JSON that the new ones were made of, nothing happens if they have changed.
-- Answers {made | set | changed, slug}, {unknown, slug}, {taken, the repository that bears the slug}
-- or {named, the slug that the repository's project has}.

local project = key('project:' .. args.project)
local made = false
if redis.call('EXISTS', project) == 0 then
  if args.repository == '' then return {'unknown', args.project} end
  local named = redis.call('GET', key('name:' .. string.lower(args.repository)))
  if named then return {'named', named} end
  make_project(args.repository, '0', {args.project})
  made = true
elseif args.repository ~= '' then
  local theirs = redis.call('HGET', project, 'repository')
  if string.lower(theirs) ~= string.lower(args.repository) then return {'taken', theirs} end
end

local settings, branch = unpack(redis.call('HMGET', project, 'settings', 'production_branch'))
if args.before and args.before ~= (settings or '') then return {'changed', args.project} end
if settings ~= args.settings or branch ~= args.production_branch then
  redis.call('HSET', project, 'settings', args.settings,
    'production_branch', args.production_branch)
  change_project(args.project)
end
return {made and 'made' or 'set', args.project}
