-- Records a main project's deployment in the further projects that the file of its commit names, and
-- makes those that are new (docs/decisions/0013). To repeat it changes nothing.
--
-- args: id claim ref commit default_branch projects ({entry, slugs} of each)
-- Answers {spread, then of each: entry, slug, deployment id or '', whether the project is new}, or the
-- reason to stop: {lost}, {cancelled}, {superseded}.

local id = args.id
local record = read(id)
if args.claim == '' or record.claim ~= args.claim then return {'lost'} end
if (record.stop or '') ~= '' then return {record.stop} end

local main = record.project
local push = {
  ref = record.ref, after = record.commit, before = record.before, pushed_at = record.pushed_at,
  message = record.message, author = record.author, guid = record.delivery,
  forced = record.forced, caught_up = record.caught_up, blind_at = record.blind_at,
}
push.repository, push.repository_id, push.private, push.default_branch =
  unpack(redis.call('HMGET', key('project:' .. main), 'repository', 'repository_id', 'private',
    'default_branch'))
push.private, push.default_branch = push.private or '1', push.default_branch or ''

-- What a person deploys by the repository is all of it. An old deployment anew is that one alone, and
-- what no push has reached: where the first attempt to fetch it had failed, nobody has heard of these.
local function is_asked_for(is_new)
  local newest = redis.call('HGET', ref_key(main, record.ref), 'commit')
  return record.trigger == 'manual' or (is_new and newest == record.commit)
end

local function request_in(slug, other)
  local production = args.ref == production_ref(slug) and '1' or '0'
  create(other, slug, {
    ref = args.ref, commit = args.commit, trigger = 'manual', redeploy_of = '',
    seq = next_seq(slug), production = production, message = '', author = '',
  }, true)
  fill(slug, other, FETCH)
  touch(other)
end

local found = {'spread'}
for _, each in ipairs(args.projects) do
  local slug = further_project(main, each.entry)
  local is_new = not slug
  slug = slug or make_further(main, each.entry, each.slugs)
  local project = key('project:' .. slug)
  if args.default_branch ~= '' and redis.call('HGET', project, 'default_branch') == '' then
    redis.call('HSET', project, 'default_branch', args.default_branch)
    change_project(slug)
  end
  local other = id_beside(id, each.entry)
  if record.trigger == 'push' then
    local _, theirs = record_push(slug, other, push)
    other = theirs
  elseif redis.call('EXISTS', record_key(other)) == 0 then
    if is_asked_for(is_new) then request_in(slug, other) else other = '' end
  end
  put_beside(id, other)
  for _, word in ipairs({each.entry, slug, other, is_new and '1' or '0'}) do
    table.insert(found, word)
  end
end
return found
