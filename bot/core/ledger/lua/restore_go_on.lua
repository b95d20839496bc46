-- Tells how far a restoration is, and keeps the right to it.
--
-- args: token lease done of projects aliases deployments
-- Answers {goes on} or {lost}: another has begun, which does no harm.

if redis.call('HGET', key('restoring'), 'token') ~= args.token then return {'lost'} end
redis.call('HSET', key('restoring'), 'done', args.done, 'of', args.of, 'projects', args.projects,
  'aliases', args.aliases, 'deployments', args.deployments)
redis.call('PEXPIRE', key('restoring'), args.lease)
return {'goes on'}
