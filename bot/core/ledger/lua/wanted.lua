-- Which of the things that the bucket holds are not here, or not as new.
--
-- args: things ({what, version} of each)
-- Answers the places of those in `things`, counted from 1.

local found = {}
for place, each in ipairs(args.things) do
  local what, version = unpack(each)
  local id = string.match(what, '^deployment:(.*)$')
  local lacks
  if id then
    local status = get(id, 'status')
    lacks = status == '' or STAGES[status] ~= nil or tonumber(version_of(what)) < tonumber(version)
  else
    lacks = tonumber(version_of(what)) < tonumber(version)
  end
  if lacks then table.insert(found, text(place)) end
end
return found
