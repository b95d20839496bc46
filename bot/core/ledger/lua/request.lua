-- Records what a person asks for: a ref, or an old deployment's commit anew (rule 11).
--
-- args: id slugs repository project ref commit trigger redeploy_of idempotency_key
-- Answers {recorded | repeated | unknown | reused, deployment id}.

local before = answered(args.idempotency_key)
if before then return before end

local slug
if args.project ~= '' then
  slug = redis.call('EXISTS', key('project:' .. args.project)) == 1 and args.project
else
  slug = find_project(args.repository, '0') or make_project(args.repository, '0', args.slugs)
end
if not slug then return {'unknown', ''} end

-- An empty ref is the production branch; where that is not known yet, intake asks git for HEAD.
local home = production_ref(slug)
local ref = args.ref
if ref == '' then ref = home ~= '' and home or 'HEAD' end
-- What was never resolved is asked for anew: its branch's newest, whatever that is now.
if args.commit == '' then args.trigger = 'manual' end
local old = args.redeploy_of ~= '' and read(args.redeploy_of) or {}
create(args.id, slug, {
  ref = ref, commit = args.commit, trigger = args.trigger, redeploy_of = args.redeploy_of,
  seq = next_seq(slug),
  production = (ref == home or ref == 'HEAD') and '1' or '0',
  message = old.message or '', author = old.author or '',
}, true)
remember_answer(args.idempotency_key, {'repeated', args.id})
fill(slug, args.id, FETCH)
touch(args.id)
return {'recorded', args.id}
