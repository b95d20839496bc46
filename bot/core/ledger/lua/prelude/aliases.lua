-- Points an alias at a release, only forward: `moved`, `pinned` or `newer`.
-- `deployment_seq` orders what pushes may move; `seq` counts moves and never falls.
local function move(label, slug, kind, id, seq, release)
  local alias = key('alias:' .. label)
  local theirs, pinned, moves, shown =
    unpack(redis.call('HMGET', alias, 'deployment_seq', 'pinned', 'seq', 'deployment'))
  if pinned == '1' then return 'pinned' end
  -- Its own, built again in a ledger that came back older than its alias: the record's release.
  if tonumber(theirs or '0') >= tonumber(seq) and shown ~= id then return 'newer' end
  if tonumber(moves or '0') >= tonumber(seq) then moves = next_seq(slug) else moves = seq end
  redis.call('HSET', alias, 'project', slug, 'kind', kind, 'seq', moves, 'deployment_seq', seq,
    'deployment', id, 'release', release, 'pinned', '0', 'moved_at', text(now))
  redis.call('PERSIST', alias)
  say('alias:' .. label)
  -- A deployment's own host follows from its record.
  if kind ~= 'deployment' then save('alias:' .. label) end
  return 'moved'
end
